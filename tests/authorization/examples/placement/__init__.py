"""What the matrix asks of the placement service: main.py first, then the other areas."""
