"""What keeps a cluster whole. Each daemon is a pass over the devices of one node, made again and
again; a pass may be cut off anywhere and begin anew.

object-replicator   replicas that lack files; devices that hold what is not theirs
listing-replicator  account and container files that know less than their replicas
updater             containers that have not learned of a write
account-updater     accounts that have not learned what their containers hold
auditor             files whose bytes have changed: they are put aside
reconstructor       fragments of erasure-coded objects that are lost, misplaced or left over
sharder             containers that have too many objects; shards that have too few
reaper              what a deleted account left

Objects that expire are deleted by the reconciler of the API (`nubelet.object_store.reconcilers`).
"""
