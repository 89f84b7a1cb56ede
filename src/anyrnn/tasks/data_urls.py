"""Pictures and sounds that a page holds in itself."""

from base64 import b64encode


def data_url(content: bytes, kind: str) -> str:
    """The data URL of a file.

    Args:
        content: The file.
        kind: Its media type, such as "image/png".

    Example:
        >>> data_url(b"anyrnn", "text/plain")
        'data:text/plain;base64,YW55cm5u'
    """
    return f"data:{kind};base64,{b64encode(content).decode()}"
