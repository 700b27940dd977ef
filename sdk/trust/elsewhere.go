package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Keys need not be in files. What begins so names one that never comes here, and that
// another program has sign: one of your own, or pkcs11-tool of OpenSC for smart cards
// and security modules.
const (
	schemeExec   = "exec:"
	schemePKCS11 = "pkcs11:"
)

// IsElsewhere tells a key of another program from a file.
func IsElsewhere(key string) bool {
	return strings.HasPrefix(key, schemeExec) || strings.HasPrefix(key, schemePKCS11)
}

// A remoteKey is a key that another program signs with.
type remoteKey struct {
	name   string
	public crypto.PublicKey
	sign   func(data []byte) ([]byte, error)
}

func (k *remoteKey) Public() crypto.PublicKey { return k.public }

var errForeign = errors.New("what it says is no signature by its key")

// Sign has the program sign a message (ed25519), or a SHA-256 (ECDSA): as a
// [crypto.Signer] does. What comes is verified.
func (k *remoteKey) Sign(_ io.Reader, data []byte, _ crypto.SignerOpts) ([]byte, error) {
	signature, err := k.sign(data)
	if err != nil {
		return nil, fmt.Errorf("cannot sign with %s: %w", k.name, err)
	}
	good := false
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		good = ed25519.Verify(public, data, signature)
	case *ecdsa.PublicKey:
		good = ecdsa.VerifyASN1(public, data, signature)
	}
	if !good {
		return nil, fmt.Errorf("cannot sign with %s: %w", k.name, errForeign)
	}
	return signature, nil
}

// openElsewhere finds the key that a name stands for.
func openElsewhere(name string, passphrase func() ([]byte, error)) (Key, error) {
	k := &remoteKey{name: name}
	var err error
	if command, is := strings.CutPrefix(name, schemeExec); is {
		err = k.byProgram(strings.Fields(command))
	} else {
		err = k.byModule(name, passphrase)
	}
	if err == nil {
		_, err = KeyID(k.public)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use key %s: %w", name, err)
	}
	return k, nil
}

// byProgram is for "exec:PROGRAM ARGUMENT…". With the argument "public" at the end it
// writes its public key to stdout, as PEM; with "sign" a signature of what it reads
// from stdin, which is the message for an ed25519 key (64 bytes come), and the SHA-256
// of the message for one of ECDSA on P-256 (ASN.1 comes). It may talk to people by
// stderr and /dev/tty.
func (k *remoteKey) byProgram(argv []string) error {
	if len(argv) == 0 {
		return errors.New("want exec:PROGRAM ARGUMENT…")
	}
	run := func(what string, in []byte) ([]byte, error) {
		return output(exec.Command(argv[0], append(slices.Clone(argv[1:]), what)...), in)
	}
	text, err := run("public", nil)
	if err != nil {
		return err
	}
	k.sign = func(data []byte) ([]byte, error) { return run("sign", data) }
	k.public, err = DecodePublicKey(text)
	return err
}

// output runs a program that may say to people what it likes.
func output(c *exec.Cmd, in []byte) ([]byte, error) {
	c.Stdin, c.Stderr = bytes.NewReader(in), os.Stderr
	b, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Args[0], err)
	}
	return b, nil
}

// pinVariable is how pkcs11-tool hears of the PIN.
const pinVariable = "TRANQUIL_PIN"

// byModule is for a PKCS#11 URI (RFC 7512), which names token, object or id, and
// module-path: ECDSA on P-256. The PIN is in the file that pin-source names; else it is
// asked for as a passphrase.
func (k *remoteKey) byModule(name string, passphrase func() ([]byte, error)) error {
	args, source, err := moduleArguments(name)
	if err != nil {
		return err
	}
	tool := func(more ...string) *exec.Cmd {
		return exec.Command("pkcs11-tool", append(slices.Clone(args), more...)...)
	}
	found, err := output(tool("--read-object", "--type", "pubkey"), nil)
	if err != nil {
		return fmt.Errorf("%w; pkcs11-tool is in the package opensc", err)
	}
	if k.public, err = modulePublic(found); err != nil {
		return err
	}
	k.sign = func(data []byte) ([]byte, error) {
		pin, err := modulePIN(source, passphrase)
		if err != nil {
			return nil, err
		}
		dir, err := os.MkdirTemp("", "tranquil-*")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
		if err := os.WriteFile(in, data, 0o600); err != nil {
			return nil, err
		}
		c := tool("--login", "--pin", "env:"+pinVariable, "--sign", "--mechanism", "ECDSA", "--signature-format", "openssl", "--input-file", in, "--output-file", out)
		c.Env = append(os.Environ(), pinVariable+"="+string(pin))
		if _, err := output(c, nil); err != nil {
			return nil, err
		}
		return os.ReadFile(out)
	}
	return nil
}

func modulePIN(source string, passphrase func() ([]byte, error)) ([]byte, error) {
	if source == "" {
		return passphrase()
	}
	b, err := ReadSecret(source)
	return bytes.TrimRight(b, "\r\n"), err
}

// moduleArguments are those of pkcs11-tool for a URI, and the file with the PIN.
func moduleArguments(name string) (args []string, pin string, err error) {
	path, query, _ := strings.Cut(strings.TrimPrefix(name, schemePKCS11), "?")
	attributes := map[string]string{}
	for _, pair := range append(strings.Split(path, ";"), strings.Split(query, "&")...) {
		key, value, _ := strings.Cut(pair, "=")
		if attributes[key], err = url.PathUnescape(value); err != nil {
			return nil, "", err
		}
	}
	if attributes["module-path"] == "" || attributes["object"] == "" && attributes["id"] == "" {
		return nil, "", errors.New("want pkcs11:token=NAME;object=NAME?module-path=FILE")
	}
	args = []string{"--module", attributes["module-path"]}
	if token := attributes["token"]; token != "" {
		args = append(args, "--token-label", token)
	}
	if object := attributes["object"]; object != "" {
		args = append(args, "--label", object)
	}
	if id := attributes["id"]; id != "" {
		args = append(args, "--id", hex.EncodeToString([]byte(id)))
	}
	return args, strings.TrimPrefix(attributes["pin-source"], "file:"), nil
}

// modulePublic reads what pkcs11-tool writes of a public key: a SubjectPublicKeyInfo
// or, older ones, the point on the curve.
func modulePublic(der []byte) (crypto.PublicKey, error) {
	if key, err := x509.ParsePKIXPublicKey(der); err == nil {
		return key, nil
	}
	var point []byte
	if _, err := asn1.Unmarshal(der, &point); err != nil {
		point = der
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, fmt.Errorf("it is no key of ECDSA on P-256: %w", err)
	}
	return key, nil
}
