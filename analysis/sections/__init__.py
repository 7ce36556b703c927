"""What a report says, section by section; how it looks is the templates' affair."""

from analysis.sections.order import report_sections
from analysis.sections.parts import Picture, Section

__all__ = ["Picture", "Section", "report_sections"]
