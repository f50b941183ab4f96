def FormatCode(text: str, **_) -> tuple[str, bool]:
    return text + "\n", False
