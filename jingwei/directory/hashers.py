"""Passwords are kept as PBKDF2 with HMAC-SM3 (P-4.5, GB/T 32905)."""

import base64

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from django.contrib.auth.hashers import PBKDF2PasswordHasher


class PBKDF2SM3PasswordHasher(PBKDF2PasswordHasher):
    """Django's encoding and checks of PBKDF2, with SM3 under them."""

    algorithm = "pbkdf2_sm3"
    iterations = 350_000  # some 0.12 s of one core

    def encode(self, password, salt, iterations=None):
        self._check_encode_args(password, salt)
        iterations = iterations or self.iterations
        derived = PBKDF2HMAC(hashes.SM3(), 32, salt.encode(), iterations).derive(password.encode())
        return f"{self.algorithm}${iterations}${salt}${base64.b64encode(derived).decode()}"
