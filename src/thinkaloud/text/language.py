"""Languages told apart by their scripts, as far as that goes: whether a reply leaves the script of its question.

Knows: scripts of letters. Doesn't know: words: two languages that share a script are one here.
"""

import re

SCRIPTS = {
    "Han": "\u3400-\u4dbf\u4e00-\u9fff",
    "Kana": "\u3040-\u30ff",
    "Hangul": "\u1100-\u11ff\uac00-\ud7af",
    "Cyrillic": "\u0400-\u04ff",
    "Arabic": "\u0600-\u06ff",
    "Hebrew": "\u0590-\u05ff",
    "Devanagari": "\u0900-\u097f",
    "Thai": "\u0e00-\u0e7f",
}
"Latin and Greek are left out: every formula and program holds some of their letters."
FOREIGN = {name: re.compile(f"[{letters}]{{2}}") for name, letters in SCRIPTS.items()}

LETTER = {name: re.compile(f"[{letters}]") for name, letters in SCRIPTS.items()}


def mixes_languages(question: str, reply: str) -> bool:
    """Whether a reply holds two letters in a row of a script that its question has none of."""
    return any(pattern.search(reply) and not pattern.search(question) for pattern in FOREIGN.values())


def consistency(question: str, reply: str) -> float:
    """Share of a reply's words without a letter of a script that its question has none of; 1 for no words."""
    foreign = [pattern for pattern in LETTER.values() if pattern.search(reply) and not pattern.search(question)]
    words = reply.split()
    return (
        sum(not any(pattern.search(word) for pattern in foreign) for word in words) / max(1, len(words))
        if foreign
        else 1.0
    )
