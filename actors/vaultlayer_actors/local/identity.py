"""All identities of a fresh home: master keys, and credentials for this machine's own processes."""

from collections.abc import Mapping

from vaultlayer.bus.credential import format_credential, write_credential
from vaultlayer.settings import Home
from vaultlayer_actors.credential_vault.keys import KeyStore
from vaultlayer_actors.credential_vault.master import MasterKeys, credentials


def ensure_identity(
    home: Home, *, now_s: float, environ: Mapping[str, str] | None = None
) -> MasterKeys:
    """Make what is missing and leave what is there; to be called under the broker's lock.

    Writes `<keys>/vault.sealed` and `<creds>/{broker,cli,sys}.creds`, all with mode 0600.

    Args:
        home: the installation.
        now_s: Unix seconds, kept as the keys' time of issue.
        environ: where the unlocking key is looked for; None: this process's own.

    Raises:
        SealError: the vault is there and does not open.
    """
    keys = KeyStore(home.keys, environ).open_or_make(now_s)
    for name, credential in credentials(keys).items():
        path = home.creds / f"{name}.creds"
        # Written anew when a version changes what a user may do.
        if not path.exists() or path.read_text() != format_credential(credential):
            write_credential(path, credential)
    home.creds.chmod(0o700)
    return keys
