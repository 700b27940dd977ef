package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// A Key signs metadata: ed25519, or ECDSA on P-256. Whatever is a crypto.Signer
// can be one; [ReadKey] finds those of PKCS#11 modules and of other programs.
type Key = crypto.Signer

// Types of PEM blocks. The encrypted form is that of sigstore: scrypt and
// NaCl's secretbox around PKCS #8.
const (
	pemEncrypted = "ENCRYPTED SIGSTORE PRIVATE KEY"
	pemPrivate   = "PRIVATE KEY"
	pemPublic    = "PUBLIC KEY"
)

// ErrPassphrase says that a key cannot be decrypted.
var ErrPassphrase = errors.New("wrong passphrase, or the file is damaged")

// NewKey makes an ed25519 key.
func NewKey() (Key, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

// EncodeKey returns a key for a file; without passphrase it is not encrypted.
func EncodeKey(key Key, passphrase []byte) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("cannot write key: %w", err)
	}
	if len(passphrase) == 0 {
		return pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: der}), nil
	}
	sealed, err := encrypted.EncryptWithCustomKDFParameters(der, passphrase, encrypted.OWASP)
	if err != nil {
		return nil, fmt.Errorf("cannot encrypt key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemEncrypted, Bytes: sealed}), nil
}

// DecodeKey reads what [EncodeKey] has written. It asks for the passphrase if
// there is one.
func DecodeKey(b []byte, passphrase func() ([]byte, error)) (Key, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("this is no key in PEM form")
	}
	der := block.Bytes
	switch block.Type {
	case pemPrivate:
	case pemEncrypted:
		secret, err := passphrase()
		if err != nil {
			return nil, err
		}
		if der, err = encrypted.Decrypt(block.Bytes, secret); err != nil {
			return nil, ErrPassphrase
		}
	default:
		return nil, fmt.Errorf("this is a %s, not a private key", block.Type)
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("cannot read key: %w", err)
	}
	key, ok := private.(Key)
	if !ok {
		return nil, fmt.Errorf("cannot sign with a key of type %T", private)
	}
	_, err = KeyID(key.Public())
	return key, err
}

// EncodePublicKey returns a public key for a file.
func EncodePublicKey(key crypto.PublicKey) ([]byte, error) {
	if _, err := KeyID(key); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: der}), err
}

// DecodePublicKey reads what [EncodePublicKey] has written.
func DecodePublicKey(b []byte) (crypto.PublicKey, error) {
	block, _ := pem.Decode(b)
	switch {
	case block != nil && (block.Type == pemPrivate || block.Type == pemEncrypted):
		return nil, errors.New("this is a private key: give the public one, and the private one to nobody")
	case block == nil || block.Type != pemPublic:
		return nil, errors.New("this is no public key in PEM form")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot read public key: %w", err)
	}
	_, err = KeyID(key)
	return key, err
}

// KeyID is the name of a key in metadata: 64 hex digits, made from the public
// key (TUF section 4.2).
func KeyID(key crypto.PublicKey) (string, error) {
	k, err := tufKey(key)
	if err != nil {
		return "", err
	}
	return k.ID()
}

func tufKey(key crypto.PublicKey) (*metadata.Key, error) {
	switch k := key.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, errors.New("cannot use an ECDSA key that is not on P-256")
		}
	default:
		return nil, fmt.Errorf("cannot use a key of type %T: want ed25519, or ECDSA on P-256", key)
	}
	return metadata.KeyFromPublicKey(key)
}

// ReadSecret reads a file that only we may read, as it was written.
func ReadSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others can read or change %s: chmod 600", path)
	}
	return os.ReadFile(path)
}

func isPublic(b []byte) bool {
	block, _ := pem.Decode(b)
	return block != nil && block.Type == pemPublic
}

// ReadKey reads a key from a file that nobody else may read, or finds one that another
// program has: "exec:PROGRAM ARGUMENT…", or a PKCS#11 URI, "pkcs11:…"; see README.md.
func ReadKey(path string, passphrase func() ([]byte, error)) (Key, error) {
	if IsElsewhere(path) {
		return openElsewhere(path, passphrase)
	}
	if b, err := os.ReadFile(path); err == nil && isPublic(b) {
		return nil, fmt.Errorf("%s is a public key: give the private one", path)
	}
	b, err := ReadSecret(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read key: %w", err)
	}
	key, err := DecodeKey(b, passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// signer lets go-tuf sign with any key.
type signer struct{ Key }

func (s signer) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return s.Public(), nil
}

func (s signer) SignMessage(message io.Reader, _ ...signature.SignOption) ([]byte, error) {
	b, err := io.ReadAll(message)
	if err != nil {
		return nil, err
	}
	if _, ok := s.Public().(ed25519.PublicKey); ok {
		return s.Sign(rand.Reader, b, crypto.Hash(0))
	}
	sum := sha256.Sum256(b)
	return s.Sign(rand.Reader, sum[:], crypto.SHA256)
}
