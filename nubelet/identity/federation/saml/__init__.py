"""SAML 2.0: this cloud as one that lets people in (`relying.py`), and as one that vouches for its
own users in other clouds (`vouching.py`).

XML and its signatures are read and written by lxml and signxml, which are in the extra `saml` and
loaded when first needed (docs/decisions/0018-signxml.md).

In OpenStack: keystone/federation/idp.py; and mod_shib or mod_auth_mellon in front of Keystone.
"""
