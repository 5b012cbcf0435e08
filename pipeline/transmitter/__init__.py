"""OpenID Shared Signals transmitter: sends what the pipeline decided to identity providers as Security Event Tokens.

A Kafka record becomes security events; each event becomes claims; the claims become a signed token (SET) in the queue
of every stream that requested such events. From the queue a SET is pushed (RFC 8935) or polled (RFC 8936). Receivers
manage their streams as OpenID Shared Signals Framework 1.0 defines. The offset of a record is committed only after
its SETs are stored.
"""
