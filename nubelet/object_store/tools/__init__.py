"""What an operator asks a cluster: where the replicas of something are, and what is wrong.

- replicas.py: one object, container or account
- audit.py: everything below an account or container
- recon.py: what the nodes tell of themselves, and how whole partitions are

In OpenStack: swift-object-info, swift-get-nodes, swift-account-audit, swift-recon,
swift-dispersion-report.
"""
