"""What the matrix asks of the compute service: main.py first, then the other areas."""
