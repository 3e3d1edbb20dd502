"""Objects on many machines: proxies without state, storage nodes, and daemons that repair.

A proxy is any API process whose `Storage` is `ClusterStorage`: it asks the ring where a name is and
speaks to the storage nodes there. A storage node has devices (folders that are disks), answers
calls on accounts, containers and objects, and runs the daemons.

- configuration.py: what all machines of a cluster share
- wire.py, client.py, server.py: how they speak: signed calls over HTTP
- devices.py: the engine of storage/ on one device; *_calls.py: what a node answers
- storage.py, objects.py, listings.py: `Storage` by quorum, for the API
- daemons/: replicators, updaters, auditors, and the supervisor that runs them

In OpenStack: swift/proxy, swift/obj, swift/container, swift/account.
"""
