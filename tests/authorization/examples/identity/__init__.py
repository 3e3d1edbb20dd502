"""What the matrix asks of the identity service: main.py first, then the other areas."""
