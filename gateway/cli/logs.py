"""The log: lines on standard error, for people or for programs."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from gateway.redaction.redactor import Redactor

__all__ = ["log_to_stderr"]


def log_to_stderr(redactor: Redactor, form: Literal["text", "json"] = "text") -> None:
    """Without secrets, and without anything that could steer a terminal or pass for another record.

    As text, a record that has several lines (an error with its trace) goes on indented; as JSON, each is one line.
    """

    def clean(text: str, goes_on: str) -> str:
        return goes_on.join(redactor.text(line) for line in text.split("\n"))

    class Line(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return clean(super().format(record), "\n    ")

    class Object(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            said = {
                "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
                "level": record.levelname,
                "logger": record.name,
                "message": clean(record.getMessage(), "\n"),
            }
            if record.exc_info:
                said["trace"] = clean(self.formatException(record.exc_info), "\n")
            return json.dumps(said)

    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(Object() if form == "json" else Line("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[output], force=True)
    for chatty in ("httpx2", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
