"""A Shared Signals transmitter: what the pipeline decided, told to identity providers as signed event tokens.

Kafka records become happenings, these become claims, and these become signed tokens in the queue of every
stream that asked for them. From there they are pushed (RFC 8935) or polled (RFC 8936). Streams are managed
as the OpenID Shared Signals Framework 1.0 says. A record's offset is committed only when its tokens are in
the store.
"""
