"""What the matrix asks of the operating service: main.py first, then the other areas."""
