"""The data plane: everything that touches a host, and nothing else.

A node runs one `Agent` over three drivers: `hypervisor` (guests), `switching` (networks) and
`disks` (images and guest disks). It holds no database, imports no service, decides nothing: the
control plane says how things shall be, the node makes them so and says what it finds.

Read next: `README.md`, then `wire.py` (the contract), `agent.py`, and a driver's Protocol.

In OpenStack: nova-compute, the Neutron agents and the nova-compute side of os-brick.
"""
