"""Folders of text files: made from a dict, and told as one."""


def laid(folder, files):
    """The folder with these files, by their paths in it."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def contents(folder):
    """What each file holds, as text that no byte is lost of, by its path in the folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode(errors="surrogateescape")
        for path in folder.rglob("*")
        if path.is_file()
    }
