"""AWS CloudTrail as a source of `auth.event` and `api.call`.

`files` opens logs, `record` reads one record, `sessions` and `identities` find whose session it is, `catalogue` and
`external_access` know what AWS operations mean, `events` makes the events, and `convert` puts it all together.
"""

from pipeline.sources.cloudtrail.convert import convert

__all__ = ["convert"]
