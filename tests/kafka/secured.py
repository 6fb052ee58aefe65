"""What a broker needs to take SCRAM-SHA-512 over TLS on a listener."""

from __future__ import annotations

import subprocess
from pathlib import Path

PASSWORD, STORE_PASSWORD = "correct-horse", "battery-staple"
LOGIN = "org.apache.kafka.common.security"


def scram_properties(store: Path, listener: str) -> dict[str, str]:
    """Of the server, for that listener; store: as `signed` makes it."""
    safe = f"listener.name.{listener.lower()}"
    return {
        f"{safe}.ssl.keystore.type": "PKCS12",
        f"{safe}.ssl.keystore.location": str(store),
        f"{safe}.ssl.keystore.password": STORE_PASSWORD,
        f"{safe}.ssl.key.password": STORE_PASSWORD,
        f"{safe}.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        f"{safe}.scram-sha-512.sasl.jaas.config": f"{LOGIN}.scram.ScramLoginModule required;",
    }


def signed(directory: Path, name: str = "ip:127.0.0.1") -> tuple[Path, Path]:
    """A key store with a certificate for that name (ip:... or dns:...), and its CA as PEM."""
    directory.mkdir()
    store, pem = directory / "store.p12", directory / "ca.pem"

    def keytool(command: str, *arguments: str) -> None:
        access = ("-keystore", str(store), "-storetype", "PKCS12", "-storepass", STORE_PASSWORD)
        subprocess.run(
            ["keytool", command, *access, *arguments], check=True, capture_output=True, timeout=60
        )

    key = ("-keyalg", "EC", "-groupname", "secp256r1", "-validity", "2")
    own = f"CN=CA {directory.name}"
    keytool("-genkeypair", "-alias", "ca", *key, "-dname", own, "-ext", "bc:c")
    server = ("-dname", "CN=broker", "-ext", f"san={name}")
    keytool("-genkeypair", "-alias", "server", *key, *server, "-signer", "ca")
    keytool("-exportcert", "-alias", "ca", "-rfc", "-file", str(pem))
    keytool("-delete", "-alias", "ca")  # else the broker might show this one
    return store, pem
