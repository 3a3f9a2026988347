"""Elements of HTML and SVG. What is given as text is escaped when the page is written, so no name can break it."""

from xml.etree import ElementTree
from xml.etree.ElementTree import Element


def element(name: str, /, *children: Element | str, **attributes: str | int | float) -> Element:
    """An element with children in order; `class_` is the attribute class, `font_size` is font-size.

    Numbers that are not whole are lengths of a drawing and are written to two digits.
    """
    made = Element(name, {key.rstrip("_").replace("_", "-"): _attribute(value) for key, value in attributes.items()})
    for child in children:
        if not isinstance(child, str):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def _attribute(value: str | int | float) -> str:
    return f"{round(value, 2) + 0.0:.2f}" if isinstance(value, float) else str(value)


def html(root: Element) -> str:
    """A whole document. It is indented, so nothing in it may depend on white space around elements.

    Characters outside of ASCII become references, so that the bytes of a file depend on no locale.
    """
    ElementTree.indent(root, " ")
    return "<!DOCTYPE html>\n" + ElementTree.tostring(root, "us-ascii", method="html").decode() + "\n"
