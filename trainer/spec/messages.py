"""The specification as a protobuf message: the one conversion, in both directions.

The message mirrors the document. Where the document has ``{type = "affine", units = 10}``, the
message has a oneof of that name with a field for each type; where the document has a name from a
list, the message has an enum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from sumgrad.trainer.record import enum_names
from sumgrad.trainer.v1 import run_pb2

if TYPE_CHECKING:
    from sumgrad.trainer.spec.run_spec import RunSpec


def to_message(spec: RunSpec) -> run_pb2.RunSpec:
    """A checked specification as a message."""
    message = run_pb2.RunSpec()
    _fill(message, spec.document())
    return message


def to_document(message: run_pb2.RunSpec) -> dict[str, Any]:
    """A message as the document that ``parse`` checks; nothing is checked here."""
    return _document(message)


def spec_of(message: run_pb2.RunSpec) -> RunSpec:
    """A message as a checked specification.

    Raises:
        InvalidSpecError: with every mistake that shows without the data.
    """
    # Here, because parsing loads every layer, and most who read messages do not parse.
    from sumgrad.trainer.spec.parse import parse

    return parse(to_document(message))


def _fill(message: Message, document: dict[str, Any]) -> None:
    message.SetInParent()
    oneofs = message.DESCRIPTOR.oneofs_by_name
    for name, value in document.items():
        if name == "batch_size" and value == "full":
            message.full_batch = True
        elif name in oneofs:
            rest = {key: content for key, content in document.items() if key != name}
            _fill(getattr(message, value), rest)
            return
        else:
            _fill_field(message, message.DESCRIPTOR.fields_by_name[name], value)


def _fill_field(message: Message, field: FieldDescriptor, value: Any) -> None:
    if isinstance(value, list):
        repeated = getattr(message, field.name)
        if field.message_type is None:
            repeated.extend(value)
            return
        for element in value:
            _fill(repeated.add(), element)
    elif isinstance(value, dict):
        _fill(getattr(message, field.name), value)
    elif field.enum_type is not None:
        setattr(message, field.name, enum_names.number(field.enum_type, value))
    else:
        setattr(message, field.name, value)


def _document(message: Message) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for field, value in message.ListFields():
        oneof = field.containing_oneof
        if field.name == "full_batch":
            document |= {"batch_size": "full"} if value else {}
        elif oneof is not None and oneof.name in ("type", "rule"):
            document |= {oneof.name: field.name, **_document(value)}
        elif isinstance(value, Message):
            document[field.name] = _document(value)
        elif field.enum_type is not None:
            # A number that this version does not know stays one, which ``parse`` refuses.
            document[field.name] = enum_names.word(field.enum_type, value) or value
        elif field.message_type is not None:
            document[field.name] = [_document(element) for element in value]
        elif field.is_repeated:
            document[field.name] = list(value)
        else:
            document[field.name] = value
    return document
