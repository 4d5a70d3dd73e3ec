"""Messages, tokens, chat templates and the parsing of replies: the one room that spells special tokens."""

from thinkaloud.text.messages import Message, ToolCall
from thinkaloud.text.policy import ThinkingPolicy
from thinkaloud.text.stops import StopStrings
from thinkaloud.text.stream import Piece, StreamParser
from thinkaloud.text.template import ChatTemplate
from thinkaloud.text.tokenizer import Tokenizer

__all__ = ["ChatTemplate", "Message", "Piece", "StopStrings", "StreamParser", "ThinkingPolicy", "Tokenizer", "ToolCall"]
