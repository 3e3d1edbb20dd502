"""What the matrix asks of the network service: main.py first, then the other areas."""
