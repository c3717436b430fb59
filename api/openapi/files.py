"""The operations on files, and on uploads of them in parts."""

from typing import Final

from api.files import files
from api.files.purposes import UPLOADED
from api.openapi import samples
from api.openapi.entry import BYTES, FORM, JSON, Answer, Body, Entry, Example, Parameter, Refused, Schema
from api.openapi.parts import IDEMPOTENCY_KEY, KEY_TEXT, TEXT, expiry, fields, one_of, or_null, page
from api.openapi.refusals import HEAD, IN_BODY, IN_EXPIRY, IN_KEY, NO_OBJECT
from api.paging import MOST_FILES
from api.services import ApiOptions
from api.uploads import uploads
from api.wire import Deleted, list_object

_FILES: Final = "Files"
_UPLOADS: Final = "Uploads"
_BINARY: Final[Schema] = {"contentMediaType": BYTES}
_NO_FORM: Final = "The body is no form, or holds a field twice."


def entries(options: ApiOptions) -> tuple[Entry, ...]:
    """Every operation under `/v1/files` and `/v1/uploads`, of a server with these options."""
    return (*_file_entries(), *_upload_entries(options))


def _file_entries() -> tuple[Entry, ...]:
    return (
        Entry(
            handler=files.upload_file,
            tag=_FILES,
            summary="Upload a file",
            says="The fields may come in any order; unknown ones are ignored. What is for batches must begin "
            "with a line of JSON.",
            parameters=(IDEMPOTENCY_KEY,),
            body=Body(content={FORM: _FILE_FORM}),
            refuses={
                400: Refused(
                    codes=("missing_required_parameter", "invalid_type", *IN_EXPIRY, *IN_KEY),
                    otherwise=f"{_NO_FORM} Or: the file is too large, or no JSON Lines. Or: {HEAD}",
                ),
                409: Refused(codes=("idempotency_conflict",)),
                429: Refused(codes=("insufficient_quota",)),
                507: Refused(),
            },
            gives={"file_id": "/id"},
            examples={
                "batch": Example(
                    says="The input of a batch.",
                    body={"purpose": "batch", "file": samples.LINES},
                    answer=samples.FILE_OBJECT,
                )
            },
        ),
        Entry(
            handler=files.list_files,
            tag=_FILES,
            summary="List files",
            parameters=(
                *page(MOST_FILES, MOST_FILES),
                Parameter(
                    name="order",
                    schema={**one_of("asc", "desc"), "default": "desc"},
                    says="By when they were made.",
                ),
                Parameter(name="purpose", schema=TEXT, says="Only files for this purpose."),
            ),
            refuses={
                400: Refused(
                    codes=("invalid_value",), otherwise=f"The limit is out of its range. Or: {HEAD}"
                ),
                404: Refused(otherwise="There is no file with the id `after`."),
            },
            gives={"file_id": "/data/0/id"},
            examples={
                "oldest": Example(
                    says="The first file of all.",
                    query={"limit": 1, "order": "asc", "purpose": "batch"},
                    answer=list_object([samples.FILE_OBJECT], has_more=True),
                )
            },
        ),
        Entry(
            handler=files.retrieve_file,
            tag=_FILES,
            summary="Retrieve a file",
            examples={"one": Example(says="The input of a batch.", answer=samples.FILE_OBJECT)},
        ),
        Entry(
            handler=files.delete_file,
            tag=_FILES,
            summary="Delete a file",
            says="It is gone at once; a batch that reads it goes on.",
            examples={
                "one": Example(
                    says="A file nobody needs.",
                    path={"file_id": samples.DELETED_FILE},
                    answer=Deleted(samples.DELETED_FILE),
                )
            },
        ),
        Entry(
            handler=files.download_file,
            tag=_FILES,
            summary="Download a file",
            parameters=(
                Parameter(
                    name="Range",
                    place="header",
                    schema=TEXT,
                    says="One range of bytes, such as `bytes=0-1023`. What is no such range is ignored.",
                ),
                Parameter(
                    name="If-Range",
                    place="header",
                    schema=TEXT,
                    says="Only if the file still has this `ETag`.",
                ),
            ),
            answers=(
                Answer(says="The content.", content={BYTES: TEXT}, headers=_CONTENT),
                Answer(
                    status=206,
                    says="A range of it.",
                    content={BYTES: TEXT},
                    headers={**_CONTENT, "content-range": (TEXT, "Which bytes, of how many.")},
                ),
            ),
            refuses={
                400: Refused(otherwise=f"Files for this purpose cannot be had back. Or: {HEAD}"),
                416: Refused(otherwise="There are no such bytes."),
            },
            examples={"whole": Example(says="All of it.", media=BYTES, answer=samples.LINES)},
        ),
    )


def _upload_entries(options: ApiOptions) -> tuple[Entry, ...]:
    return (
        Entry(
            handler=uploads.create_upload,
            tag=_UPLOADS,
            summary="Begin an upload in parts",
            says="It expires after an hour.",
            parameters=(IDEMPOTENCY_KEY,),
            body=Body(content={JSON: _upload(options)}),
            refuses={
                400: Refused(
                    codes=(*IN_BODY, *IN_EXPIRY, *IN_KEY),
                    otherwise=f"{NO_OBJECT} Or: header and body name two idempotency keys. Or: {HEAD}",
                ),
                409: Refused(codes=("idempotency_conflict",)),
                429: Refused(codes=("insufficient_quota",)),
                507: Refused(),
            },
            gives={"upload_id": "/id"},
            examples={
                "batch": Example(
                    says="The input of a batch.",
                    body={
                        "filename": "requests.jsonl",
                        "purpose": "batch",
                        "bytes": len(samples.LINES),
                        "mime_type": "application/jsonl",
                    },
                    answer=samples.UPLOAD_OBJECT,
                )
            },
        ),
        Entry(
            handler=uploads.add_part,
            tag=_UPLOADS,
            summary="Add a part",
            says=f"At most {options.max_part_bytes} bytes. Parts may be sent side by side; unknown fields "
            "are ignored.",
            body=Body(
                content={FORM: {"type": "object", "properties": {"data": _BINARY}, "required": ["data"]}}
            ),
            refuses={
                400: Refused(
                    codes=("missing_required_parameter",),
                    otherwise=f"{_NO_FORM} Or: the part is too large, or the upload has ended. Or: {HEAD}",
                ),
                507: Refused(),
            },
            examples={
                "only": Example(says="All of it.", body={"data": samples.LINES}, answer=samples.PART_OBJECT)
            },
        ),
        Entry(
            handler=uploads.complete_upload,
            tag=_UPLOADS,
            summary="Complete an upload",
            says="Makes a file of the parts, in this order. Sent again with the same parts it is answered as "
            "before.",
            body=Body(content={JSON: _COMPLETION}),
            refuses={
                400: Refused(
                    codes=IN_BODY,
                    otherwise=f"{NO_OBJECT} Or: a part is unknown or named twice, the number of bytes or "
                    "the MD5 is another one, the content is no JSON Lines, or the upload has ended. Or: "
                    f"{HEAD}",
                ),
                507: Refused(),
            },
            gives={"file_id": "/file/id"},
            examples={
                "file": Example(
                    says="A file of one part.",
                    body={"part_ids": [samples.PART]},
                    answer=samples.COMPLETED_UPLOAD,
                )
            },
        ),
        Entry(
            handler=uploads.cancel_upload,
            tag=_UPLOADS,
            summary="Cancel an upload",
            refuses={400: Refused(otherwise=f"The upload has ended otherwise. Or: {HEAD}")},
            examples={
                "pending": Example(
                    says="An upload that nobody wants.",
                    path={"upload_id": samples.CANCELLED_UPLOAD},
                    answer=samples.CANCELLED_UPLOAD_OBJECT,
                )
            },
        ),
    )


_CONTENT: Final = {
    "accept-ranges": (one_of("bytes"), "Ranges can be asked for."),
    "content-disposition": (TEXT, "The name of the file."),
    "etag": (TEXT, "The SHA-256 of the whole content, in quotes."),
}
_FILE_FORM: Final[Schema] = {
    "type": "object",
    "properties": {
        "purpose": one_of(*UPLOADED),
        "file": _BINARY,
        "expires_after[anchor]": one_of("created_at"),
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
    },
    "required": ["purpose", "file"],
    "dependentRequired": {
        "expires_after[anchor]": ["expires_after[seconds]"],
        "expires_after[seconds]": ["expires_after[anchor]"],
    },
}
_COMPLETION: Final = fields(
    {"part_ids": {"type": "array", "items": TEXT}},
    {
        "md5": or_null(
            {
                "type": "string",
                "pattern": "^[0-9a-fA-F]{32}$",
                "description": "Of the whole content: it is compared.",
            }
        )
    },
)


def _upload(options: ApiOptions) -> Schema:
    return fields(
        {
            "filename": {"type": "string", "maxLength": 4096},
            "purpose": one_of(*UPLOADED),
            "bytes": {
                "type": "integer",
                "minimum": 1,
                "maximum": options.max_upload_bytes,
                "description": f"Of all parts together; for batches at most {options.max_batch_file_bytes}.",
            },
            "mime_type": {"type": "string", "maxLength": 256},
        },
        {
            "expires_after": expiry("When the file goes. Default: for batches after 30 days, else never."),
            "idempotency_key": or_null(KEY_TEXT),
        },
    )
