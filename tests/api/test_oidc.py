"""Tokens of an OpenID Connect issuer: a real one, with real keys, over HTTP."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from api.access import oidc
from api.access.oidc import Issuer
from api.problems import Failed
from tests.api.keys import ADMIN_KEY, bearer, put_admin_key
from tests.api.rows import put_alert
from tidegate.access import ROLES, Role
from tidegate.settings import Access

AUDIENCE = "tidegate"


class Provider:
    """An issuer: its discovery document, its keys, and tokens signed with them."""

    def __init__(self, address):
        self.address = address
        self.private, self.public = {}, []
        self.asked: Counter[str] = Counter()
        self.claimed = address  # the issuer that the document names
        self.jwks_uri = f"{address}/keys"
        self.broken = False
        self.rotate("first")

    def rotate(self, kid, kind="RS256", **given):
        """Signs with a new key alone from now on."""
        self.kid, self.kind = kid, kind
        private: Any
        if kind == "RS256":
            private = rsa.generate_private_key(65537, given.pop("bits", 2048))
            public = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
        elif kind == "ES256":
            private = ec.generate_private_key(ec.SECP256R1())
            public = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
        else:
            private = ed25519.Ed25519PrivateKey.generate()
            public = OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
        self.private[kid] = private
        self.public = [public | {"kid": kid, "use": "sig"} | given]

    def token(self, *, kid=None, headers=None, key=None, kind=None, **claims):
        now = int(time.time())
        given = {
            "iss": self.address,
            "aud": AUDIENCE,
            "sub": "ann",
            "iat": now,
            "exp": now + 300,
            "roles": ["analyst"],
        } | claims
        given = {name: value for name, value in given.items() if value is not None}
        named = {"kid": kid or self.kid} | (headers or {})
        key = self.private[self.kid] if key is None else key
        return jwt.encode(given, key, algorithm=kind or self.kind, headers=named)

    def answer(self, path):
        self.asked[path] += 1
        if self.broken:
            return 500, b"no"
        if path == "/.well-known/openid-configuration":
            about = {"issuer": self.claimed, "jwks_uri": self.jwks_uri}
            return 200, json.dumps(about).encode()
        if path == "/keys":
            return 200, json.dumps({"keys": self.public}).encode()
        if path == "/moved":
            return 302, b""
        return 404, b""


@pytest.fixture
def provider():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, content = made.answer(self.path)
            self.send_response(status)
            self.send_header("Location", "/keys")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Provider(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def given(provider, **more):
    return Access(oidc_issuer=provider.address, oidc_audience=AUDIENCE, **more)


@pytest.fixture
def api(serve, database, provider):
    return serve(database, key=None, access=given(provider))


@pytest.fixture
def clock():
    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def issuer(provider, clock):
    return Issuer(given(provider), clock)


def refused(issuer, token, status=401):
    with pytest.raises(Failed) as caught:
        issuer.caller(token)
    assert caught.value.kind.status == status, caught.value.detail
    return caught.value


@pytest.mark.parametrize("kind", ["RS256", "ES256", "EdDSA"])
def test_a_token_lets_in_who_it_names_and_the_audit_says_so(api, provider, conn, kind):
    alert = f"/v1/alerts/{put_alert(conn, 1)}"
    conn.commit()
    provider.rotate("a", kind)
    sent = bearer(provider.token())
    body = api.get("/v1/session", headers=sent).json()
    assert (body["actor"], body["role"], body["csrf_token"]) == ("oidc:ann", None, None)
    assert set(body["scopes"]) == ROLES[Role.ANALYST]
    answer = api.post(f"{alert}/comments", json={"text": "x"}, headers=sent)
    assert answer.status_code == 201, answer.text
    assert conn.execute("SELECT actor FROM audit").fetchall() == [("oidc:ann",)]
    assert api.post("/v1/promotions/rollback", json={}, headers=sent).status_code == 403


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"exp": None},
        {"nbf": 2**40},
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "a\nb"},
        {"sub": "x" * 256},
    ],
)
def test_a_token_that_is_over_or_for_another_is_401(issuer, provider, claims):
    assert issuer.caller(provider.token()).actor == "oidc:ann"
    refused(issuer, provider.token(**claims))


def test_clocks_may_differ_by_half_a_minute_and_no_more(issuer, provider):
    now = int(time.time())
    assert issuer.caller(provider.token(exp=now - 10)).name == "ann"
    refused(issuer, provider.token(exp=now - 40))


def test_a_token_of_another_key_or_algorithm_is_401(issuer, provider):
    assert issuer.caller(provider.token()).name == "ann"
    stranger = rsa.generate_private_key(65537, 2048)
    refused(issuer, provider.token(key=stranger))
    # The public key as a secret, and no signature at all.
    refused(issuer, signed_with_the_public_key(provider))
    refused(issuer, provider.token(key="", kind="none"))
    # A key of the issuer, used in another way than it is meant for.
    refused(issuer, provider.token(kind="RS512"))
    refused(issuer, provider.token(kind="PS256"))
    whole = provider.token()
    head, body, signature = whole.split(".")
    refused(issuer, f"{head}.{body}.")
    refused(issuer, f"{head}.{body}x.{signature}")
    refused(issuer, "a.b.c")
    assert provider.asked["/keys"] == 1


def signed_with_the_public_key(provider):
    """What a verifier takes that lets the token choose the algorithm."""
    public = provider.private["first"].public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = {"alg": "HS256", "typ": "JWT", "kid": "first"}
    body = provider.token().split(".")[1]
    signed = base64.urlsafe_b64encode(json.dumps(head).encode()).rstrip(b"=") + b"." + body.encode()
    signature = hmac.digest(pem, signed, "sha256")
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@pytest.mark.parametrize("more", [{"use": "enc"}, {"kid": None}, {"kty": "oct", "k": "AAAA"}])
def test_keys_that_are_not_for_signatures_sign_nothing(issuer, provider, more):
    provider.public = [provider.public[0] | more]
    refused(issuer, provider.token())


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_key_that_is_too_short_signs_nothing(issuer, provider):
    provider.rotate("short", bits=1024)
    refused(issuer, provider.token())


def test_a_new_key_of_the_issuer_is_found_and_an_old_one_forgotten(issuer, provider, clock):
    old = provider.token()
    assert issuer.caller(old).name == "ann"
    provider.rotate("second")
    clock.now += 31
    assert issuer.caller(provider.token()).name == "ann"
    refused(issuer, old)
    assert provider.asked["/keys"] == 2


def test_unknown_keys_make_it_ask_twice_a_minute_and_no_more(issuer, provider, clock):
    assert issuer.caller(provider.token()).name == "ann"
    for n in range(50):
        refused(issuer, provider.token(kid=f"made-up-{n}"))
    assert provider.asked["/keys"] == 1
    clock.now += 31
    for n in range(50):
        refused(issuer, provider.token(kid=f"made-up-{n}"))
    assert provider.asked["/keys"] == 2


def test_keys_are_kept_for_ten_minutes(issuer, provider, clock):
    issuer.caller(provider.token())
    clock.now += oidc.KEPT - 1
    issuer.caller(provider.token())
    assert provider.asked["/keys"] == 1
    clock.now += 2
    issuer.caller(provider.token())
    assert provider.asked["/keys"] == 2


def test_an_issuer_that_cannot_be_reached_lets_nobody_in(issuer, provider, clock):
    provider.broken = True
    failed = refused(issuer, provider.token(), 503)
    assert failed.headers == {"Retry-After": "5"}
    refused(issuer, provider.token(), 503)
    assert sum(provider.asked.values()) == 1  # it is left alone for a while
    provider.broken = False
    clock.now += 6
    assert issuer.caller(provider.token()).name == "ann"
    # Those whose keys are here still are, until the keys are to be fetched anew.
    provider.broken = True
    clock.now += 60
    assert issuer.caller(provider.token()).name == "ann"
    clock.now += oidc.KEPT
    refused(issuer, provider.token(), 503)


@pytest.mark.parametrize(
    "wrong",
    [
        {"claimed": "https://elsewhere.example"},
        {"jwks_uri": None},
        {"jwks_uri": "http://keys.example/"},
        {"jwks_uri": "file:///etc/hostname"},
        {"jwks_uri": "/moved"},
    ],
)
def test_an_issuer_that_is_not_what_was_set_is_as_one_that_is_away(issuer, provider, wrong):
    for name, value in wrong.items():
        address = f"{provider.address}{value}" if value == "/moved" else value
        setattr(provider, name, address)
    refused(issuer, provider.token(), 503)
    assert provider.asked["/keys"] == 0


def test_an_issuer_that_is_away_is_503_for_tokens_and_nothing_for_keys(serve, database, provider):
    access = given(provider)
    provider.broken = True
    put_admin_key(database)
    api = serve(database, access=access)
    answer = api.get("/v1/stats", headers=bearer(provider.token()))
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "the issuer of tokens does not answer"
    assert api.get("/v1/stats", headers=bearer(ADMIN_KEY)).status_code == 200


@pytest.mark.parametrize(
    ("claim", "value", "roles"),
    [
        ("roles", ["viewer"], {Role.VIEWER}),
        ("roles", ["viewer", "ingest", "of another system", 7], {Role.VIEWER, Role.INGEST}),
        ("roles", "viewer ingest", {Role.VIEWER, Role.INGEST}),
        ("roles", ["ADMIN"], set()),
        ("roles", {"admin": True}, set()),
        ("roles", None, set()),
        ("realm_access.roles", {"roles": ["admin"]}, {Role.ADMIN}),
        ("https://tidegate.example/roles", ["viewer"], {Role.VIEWER}),
    ],
)
def test_roles_are_read_from_the_claim_that_is_set(provider, claim, value, roles):
    issuer = Issuer(given(provider, oidc_roles_claim=claim))
    name = "realm_access" if claim.startswith("realm") else claim
    caller = issuer.caller(provider.token(**{"roles": None, name: value}))
    assert caller.scopes == frozenset().union(*(ROLES[role] for role in roles))


def test_somebody_without_a_role_is_known_and_may_nothing(api, provider):
    sent = bearer(provider.token(roles=[]))
    assert api.get("/v1/session", headers=sent).status_code == 200
    assert api.get("/v1/alerts", headers=sent).status_code == 403


def test_without_an_issuer_a_token_is_401(serve, database, provider):
    answer = serve(database, key=None).get("/v1/stats", headers=bearer(provider.token()))
    assert answer.status_code == 401
    assert provider.asked == {}


def test_a_token_begins_no_session(api, provider):
    answer = api.post("/login", data={"key": provider.token()})
    assert answer.status_code == 401
