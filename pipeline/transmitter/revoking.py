"""A receiver is revoked by the operator: all it has ends at once, and where it is pushed to it is told so."""

from __future__ import annotations

from pipeline.transmitter.settings import TransmitterSettings
from pipeline.transmitter.store import receivers, streams
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.signing import Signer
from pipeline.transmitter.tokens.announcing import Announcer
from pipeline.transmitter.vocabulary import PUSH


def revoke_receiver(store: Store, settings: TransmitterSettings, receiver_id: str, now_ms: int) -> bool:
    """Take everything back from a receiver; false if there is none, or it is revoked already.

    The word that its streams are disabled (SSF 1.0 §8.1.5) is pushed by a transmitter that runs on this
    store. Who is revoked can poll no more, and is not told.
    """
    with store.begin() as conn:
        before = streams.of_receiver(conn, store.sealer, receiver_id)
        if not receivers.revoke(conn, receiver_id, now_ms):
            return False
        after = streams.of_receiver(conn, store.sealer, receiver_id)
        if pushed := [one for one in after if one.method == PUSH]:
            signer = Signer(store.sealer, settings.alg, settings.rsa_bits)
            signer.start(conn, now_ms)
            Announcer(settings.issuer, signer).changed(conn, before, pushed, now_ms)
    return True
