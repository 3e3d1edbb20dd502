"""What all services share: requests, transactions, operations, policy, quotas, events.

The kernel knows no service. Read README.md in this folder first.
"""
