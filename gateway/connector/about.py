"""What is said of a server beside how it is reached: who answers for it, and to which environment it belongs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = ["UNSAID", "About", "Manifest"]

_Line = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")]


class About(BaseModel):
    """`about:` in a server's section."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: _Line = Field("", description="Who answers for it: a team or a person. Agents are told to ask them.")
    contact: _Line = Field("", description="Where they are reached, such as a mail address or a channel.")
    runbook: Annotated[str, Field(max_length=2000)] = Field(
        "", description="What to do when it fails: a URL, or the text itself."
    )
    environment: Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\s/]*$")] = Field(
        "", description="Where it belongs, such as production: agents of another environment may use nothing of it."
    )

    @property
    def ask(self) -> str:
        """A sentence for an agent, or nothing."""
        return f"Ask {self.owner}, who answers for it." if self.owner else ""

    def told(self) -> dict[str, str]:
        """Return what is known, as JSON."""
        return {name: value for name, value in self.model_dump().items() if value}

    def words(self) -> str:
        """Return what is known in a few words for a person, or nothing."""
        contact = f" ({self.contact})" if self.owner and self.contact else self.contact
        who = f"ask {self.owner}{contact}" if self.owner or self.contact else ""
        return "; ".join(filter(None, (who, f"runbook: {self.runbook}" if self.runbook else "")))


UNSAID: Final = About()
"""Of a server of which nothing is said."""

_NAMED: Final = re.compile(r"(?P<label>[^,]*),\s*(?P<url>\S+)")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a package says of itself: who answers for it, its version, and where its runbook and its changes are."""

    owner: str = ""
    version: str = ""
    runbook: str = ""
    changelog: str = ""

    @classmethod
    def of(cls, people: Iterable[str], version: str, urls: Mapping[str, str]) -> "Manifest":
        """Return what `people` (maintainers, then authors) and labelled URLs come to; labels count in any case."""
        named = {label.strip().lower(): url for label, url in urls.items()}
        owner = next(filter(None, people), "")
        return cls(owner, version, named.get("runbook", ""), named.get("changelog", ""))

    @classmethod
    def installed(cls, metadata: Any) -> "Manifest":
        """Return what the core metadata of an installed package say."""
        people = (metadata.get(name) or "" for name in ("Maintainer-email", "Maintainer", "Author-email", "Author"))
        found = map(_NAMED.fullmatch, metadata.get_all("Project-URL") or ())
        return cls.of(people, metadata.get("Version") or "", {one["label"]: one["url"] for one in found if one})

    @classmethod
    def declared(cls, project: Mapping[str, Any]) -> "Manifest":
        """Return what the `project` table of a pyproject.toml says."""
        people = (
            " ".join(filter(None, (one.get("name", ""), f"<{one['email']}>" if "email" in one else "")))
            for kind in ("maintainers", "authors")
            for one in project.get(kind, ())
        )
        return cls.of(people, str(project.get("version", "")), project.get("urls", {}))

    def missing(self) -> list[str]:
        """Return what it does not say."""
        return [name for name, value in asdict(self).items() if not value]
