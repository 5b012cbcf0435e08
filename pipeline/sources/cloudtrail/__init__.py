"""Other people's logs turned into our events; each source is one module with one `convert`.

Pure but for reading the files it is given: no clock, no network, and the same files give the same events.
"""

from pipeline.sources.cloudtrail.convert import Conversion, Counts, convert
from pipeline.sources.cloudtrail.files import UnreadableLogError

__all__ = ["Conversion", "Counts", "UnreadableLogError", "convert"]
