"""Chat templates: conversations laid out as text, with the learned parts marked."""

from tunesmith.templates.apart import apart
from tunesmith.templates.check import jinja_to_serve, mismatch, probes_for, stop_ids
from tunesmith.templates.choose import Asked, Renderer, choose
from tunesmith.templates.conversation import Conversation
from tunesmith.templates.jinja import OwnJinja
from tunesmith.templates.order import ANSWERING
from tunesmith.templates.registry import get, names, register
from tunesmith.templates.render import Template
from tunesmith.templates.spelled import has_marks, spelled
from tunesmith.templates.thoughts import unsilenced

__all__ = [
    "ANSWERING",
    "Asked",
    "Conversation",
    "OwnJinja",
    "Renderer",
    "Template",
    "apart",
    "choose",
    "get",
    "has_marks",
    "jinja_to_serve",
    "mismatch",
    "names",
    "probes_for",
    "register",
    "spelled",
    "stop_ids",
    "unsilenced",
]
