"""Tokens to text as they come: whole characters only, and nothing past a text that ends it."""

from collections.abc import Sequence

from jaxlm.data.tokenizers.specs import AnyTokenizer

UNFINISHED = "\ufffd"  # what a tokenizer gives for the first bytes of a character


class TextStream:
    """Turns the new tokens of one request into pieces of text.

    Law: the pieces of all tokens and of `finish` are together the text that `DecodeTokens` gives for these tokens, up
    to the first of `stops`.

    Args:
        tokenizer: of the model.
        prompt: the tokens before.
        end: tokens in a row that end the text and are no part of it.
        stops: texts of which the first that comes ends the text and is no part of it.
    """

    def __init__(
        self, tokenizer: AnyTokenizer, prompt: Sequence[int], end: Sequence[int] = (), stops: Sequence[str] = ()
    ):
        self._tokenizer, self._end, self._stops = tokenizer, tuple(end), tuple(stops)
        self._tokens, self._new = list(prompt), 0
        self._before = self._read = len(self._tokens)  # text up to `read` is given, and what is decoded begins `before`
        self._before = max(0, self._before - 8)
        self._held, self.ended = "", False

    def push(self, token: int) -> str:
        """Add a token and return the text that is certain by now.

        After the token that ends the text, `ended` is True.
        """
        if self.ended:
            return ""
        self._tokens.append(token)
        self._new += 1
        size = len(self._end)
        if size and self._new >= size and tuple(self._tokens[-size:]) == self._end:
            del self._tokens[-size:]
            return self._close(self._rest())
        if self._may_end():
            return ""
        return self._emit(self._decoded())

    def finish(self) -> str:
        """Return what is left after the last token."""
        return "" if self.ended else self._close(self._rest())

    def _may_end(self) -> bool:
        """Return whether the last tokens begin the tokens of an end, so that their text waits."""
        sizes = range(1, min(len(self._end), self._new + 1))
        return any(tuple(self._tokens[-size:]) == self._end[:size] for size in sizes)

    def _rest(self) -> str:
        return self._decoded(whole=False)

    def _decoded(self, whole: bool = True) -> str:
        """Return the text of the tokens that were not given yet; nothing while a character is unfinished."""
        old = self._tokenizer.decode(self._tokens[self._before : self._read])
        now = self._tokenizer.decode(self._tokens[self._before :])
        if whole and now.endswith(UNFINISHED):
            return ""
        self._before, self._read = max(self._before, self._read - 8), len(self._tokens)
        return now[len(old) :] if now.startswith(old) else now

    def _emit(self, text: str) -> str:
        """Return what of a text is certain to be before any stop."""
        self._held += text
        found = [(place, stop) for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            return self._close("", cut=min(found)[0])
        hold = max(
            (size for stop in self._stops for size in range(1, len(stop)) if self._held.endswith(stop[:size])),
            default=0,
        )
        sure = len(self._held) - hold
        given, self._held = self._held[:sure], self._held[sure:]
        return given

    def _close(self, text: str, cut: int | None = None) -> str:
        self._held += text
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        cut = min(found) if cut is None and found else cut
        self.ended = True
        given, self._held = self._held[:cut], ""
        return given
