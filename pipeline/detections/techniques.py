"""The techniques and risks that detections name, one row each, with the framework and its version that define them.

Sources: ATT&CK is MITRE's STIX objects (github.com/mitre/cti) and release notes. Of the tactic Defense Evasion
version 19 made Stealth and Defense Impairment in Enterprise, not in Mobile, and gave Impair Defenses new identifiers.
What version 19 retired, and what took its place, is from its release notes; the objects of Enterprise were read in 18.1
and, where there were changes, in 19.2. ATLAS is github.com/mitre-atlas/atlas-data, OWASP is genai.owasp.org.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ATTACK_VERSION: Final = "20.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """Who defines a technique: a name, a version, and the pattern of its identifiers."""

    name: str
    version: str
    id_pattern: str


ENTERPRISE: Final = Framework(name="MITRE ATT&CK Enterprise", version=ATTACK_VERSION, id_pattern=r"T\d{4}(\.\d{3})?")
MOBILE: Final = Framework(name="MITRE ATT&CK Mobile", version=ATTACK_VERSION, id_pattern=r"T\d{4}(\.\d{3})?")
ATLAS: Final = Framework(name="MITRE ATLAS", version="2026.09", id_pattern=r"AML\.T\d{4}(\.\d{3})?")
OWASP_AGENTIC: Final = Framework(
    name="OWASP Top 10 for Agentic Applications", version="2026", id_pattern=r"ASI(0[1-9]|10)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Technique:
    """One technique, or one risk of a list of risks.

    Attributes:
        id: its identifier, unique over all frameworks.
        framework: who defines it.
        name: as the framework writes it, with the parent before a colon.
        tactics: what an attacker wants to reach by it; none where the framework has no tactics.
    """

    id: str
    framework: Framework
    name: str
    tactics: tuple[str, ...] = ()


TECHNIQUES: Final = (
    Technique(id="T1030", framework=ENTERPRISE, name="Data Transfer Size Limits", tactics=("Exfiltration",)),
    Technique(
        id="T1059.009",
        framework=ENTERPRISE,
        name="Command and Scripting Interpreter: Cloud API",
        tactics=("Execution",),
    ),
    Technique(id="T1070.006", framework=ENTERPRISE, name="Indicator Removal: Timestomp", tactics=("Stealth",)),
    Technique(
        id="T1078",
        framework=ENTERPRISE,
        name="Valid Accounts",
        tactics=("Initial Access", "Persistence", "Privilege Escalation", "Stealth"),
    ),
    Technique(
        id="T1078.004",
        framework=ENTERPRISE,
        name="Valid Accounts: Cloud Accounts",
        tactics=("Initial Access", "Persistence", "Privilege Escalation", "Stealth"),
    ),
    Technique(id="T1087.004", framework=ENTERPRISE, name="Account Discovery: Cloud Account", tactics=("Discovery",)),
    Technique(id="T1090.003", framework=ENTERPRISE, name="Proxy: Multi-hop Proxy", tactics=("Command and Control",)),
    Technique(
        id="T1098.001",
        framework=ENTERPRISE,
        name="Account Manipulation: Additional Cloud Credentials",
        tactics=("Persistence", "Privilege Escalation"),
    ),
    Technique(
        id="T1098.003",
        framework=ENTERPRISE,
        name="Account Manipulation: Additional Cloud Roles",
        tactics=("Persistence", "Privilege Escalation"),
    ),
    Technique(
        id="T1098.005",
        framework=ENTERPRISE,
        name="Account Manipulation: Device Registration",
        tactics=("Persistence", "Privilege Escalation"),
    ),
    Technique(
        id="T1110.003", framework=ENTERPRISE, name="Brute Force: Password Spraying", tactics=("Credential Access",)
    ),
    Technique(
        id="T1110.004", framework=ENTERPRISE, name="Brute Force: Credential Stuffing", tactics=("Credential Access",)
    ),
    Technique(
        id="T1111",
        framework=ENTERPRISE,
        name="Multi-Factor Authentication Interception",
        tactics=("Credential Access",),
    ),
    Technique(id="T1213", framework=ENTERPRISE, name="Data from Information Repositories", tactics=("Collection",)),
    Technique(id="T1526", framework=ENTERPRISE, name="Cloud Service Discovery", tactics=("Discovery",)),
    Technique(id="T1528", framework=ENTERPRISE, name="Steal Application Access Token", tactics=("Credential Access",)),
    Technique(id="T1530", framework=ENTERPRISE, name="Data from Cloud Storage", tactics=("Collection",)),
    Technique(id="T1537", framework=ENTERPRISE, name="Transfer Data to Cloud Account", tactics=("Exfiltration",)),
    Technique(id="T1539", framework=ENTERPRISE, name="Steal Web Session Cookie", tactics=("Credential Access",)),
    Technique(
        id="T1550.001",
        framework=ENTERPRISE,
        name="Use Alternate Authentication Material: Application Access Token",
        tactics=("Lateral Movement",),
    ),
    Technique(
        id="T1550.004",
        framework=ENTERPRISE,
        name="Use Alternate Authentication Material: Web Session Cookie",
        tactics=("Lateral Movement",),
    ),
    Technique(id="T1552", framework=ENTERPRISE, name="Unsecured Credentials", tactics=("Credential Access",)),
    Technique(
        id="T1552.001",
        framework=ENTERPRISE,
        name="Unsecured Credentials: Credentials In Files",
        tactics=("Credential Access",),
    ),
    Technique(
        id="T1552.005",
        framework=ENTERPRISE,
        name="Unsecured Credentials: Cloud Instance Metadata API",
        tactics=("Credential Access",),
    ),
    Technique(
        id="T1555.006",
        framework=ENTERPRISE,
        name="Credentials from Password Stores: Cloud Secrets Management Stores",
        tactics=("Credential Access",),
    ),
    Technique(
        id="T1556.006",
        framework=ENTERPRISE,
        name="Modify Authentication Process: Multi-Factor Authentication",
        tactics=("Persistence", "Defense Impairment", "Credential Access"),
    ),
    Technique(
        id="T1557", framework=ENTERPRISE, name="Adversary-in-the-Middle", tactics=("Credential Access", "Collection")
    ),
    Technique(id="T1580", framework=ENTERPRISE, name="Cloud Infrastructure Discovery", tactics=("Discovery",)),
    Technique(
        id="T1621",
        framework=ENTERPRISE,
        name="Multi-Factor Authentication Request Generation",
        tactics=("Credential Access",),
    ),
    Technique(
        id="T1666", framework=ENTERPRISE, name="Modify Cloud Resource Hierarchy", tactics=("Defense Impairment",)
    ),
    Technique(id="T1685", framework=ENTERPRISE, name="Disable or Modify Tools", tactics=("Defense Impairment",)),
    Technique(
        id="T1685.002",
        framework=ENTERPRISE,
        name="Disable or Modify Tools: Disable or Modify Cloud Log",
        tactics=("Defense Impairment",),
    ),
    Technique(
        id="T1686.001",
        framework=ENTERPRISE,
        name="Disable or Modify System Firewall: Cloud Firewall",
        tactics=("Defense Impairment",),
    ),
    Technique(
        id="T1404", framework=MOBILE, name="Exploitation for Privilege Escalation", tactics=("Privilege Escalation",)
    ),
    Technique(id="T1451", framework=MOBILE, name="SIM Card Swap", tactics=("Initial Access",)),
    Technique(id="T1577", framework=MOBILE, name="Compromise Application Executable", tactics=("Persistence",)),
    Technique(id="T1617", framework=MOBILE, name="Hooking", tactics=("Defense Evasion",)),
    Technique(
        id="T1629.003", framework=MOBILE, name="Impair Defenses: Disable or Modify Tools", tactics=("Defense Evasion",)
    ),
    Technique(
        id="T1632.001",
        framework=MOBILE,
        name="Subvert Trust Controls: Code Signing Policy Modification",
        tactics=("Defense Evasion",),
    ),
    Technique(
        id="T1633.001",
        framework=MOBILE,
        name="Virtualization/Sandbox Evasion: System Checks",
        tactics=("Defense Evasion",),
    ),
    Technique(id="T1645", framework=MOBILE, name="Compromise Client Software Binary", tactics=("Persistence",)),
    Technique(id="T1660", framework=MOBILE, name="Phishing", tactics=("Initial Access",)),
    Technique(
        id="T1661", framework=MOBILE, name="Application Versioning", tactics=("Initial Access", "Defense Evasion")
    ),
    Technique(
        id="AML.T0053",
        framework=ATLAS,
        name="AI Agent Tool Invocation",
        tactics=("Execution", "Privilege Escalation", "Lateral Movement"),
    ),
    Technique(
        id="AML.T0091.000",
        framework=ATLAS,
        name="Use Alternate Authentication Material: Application Access Token",
        tactics=("Lateral Movement",),
    ),
    Technique(id="ASI02", framework=OWASP_AGENTIC, name="Tool Misuse and Exploitation"),
    Technique(id="ASI03", framework=OWASP_AGENTIC, name="Identity and Privilege Abuse"),
    Technique(id="ASI10", framework=OWASP_AGENTIC, name="Rogue Agents"),
)
TECHNIQUE: Final = {technique.id: technique for technique in TECHNIQUES}
"""Each row of :data:`TECHNIQUES` by its identifier."""
