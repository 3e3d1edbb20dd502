"""Domain configuration: the options of one domain, kept in the database.

They choose where a domain's users come from (`identity.driver`) and how that is reached (`ldap`).
Read next: `options.py`, `../directories/`.

In OpenStack: keystone/resource/core.py DomainConfigManager.
"""
