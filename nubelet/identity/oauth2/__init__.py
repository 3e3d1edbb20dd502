"""OAuth 2: tokens for programs that speak its client credentials grant (RFC 6749, 4.4).

The client is an application credential (its id and secret are the client's), or a user with a
certificate, whose tokens are good only together with that (RFC 8705).
"""
