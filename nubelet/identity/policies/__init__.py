"""Policies: texts that are kept for services, and which policy is for which endpoint.

What a text says is for whoever fetches it; the rules of this cloud are not kept here (see
kernel/policy.py). Upstream calls this API deprecated, and clients still test it.

In OpenStack: keystone/policy, keystone/endpoint_policy.
"""
