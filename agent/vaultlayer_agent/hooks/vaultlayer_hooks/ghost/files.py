"""The script's files in a replay."""


class Files:
    """What is known of the script's open files."""

    def open_files(self):
        """Give path and position of every file that is open for writing."""
        return ()

    def put_image(self, files):
        """Put the files of the snapshot's moment into place."""
