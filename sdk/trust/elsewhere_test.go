package trust_test

import (
	"crypto"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/trust"
	"github.com/tranquil-iot/tranquil/sdk/trust/trusttest"
)

var errNoPassphrase = errors.New("nobody is asked")

func unasked() ([]byte, error) { return nil, errNoPassphrase }

// founded has a key found a repository that others can begin with.
func founded(t *testing.T, key trust.Key) {
	t.Helper()
	other, err := trust.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	files, err := trust.Found(trust.Founding{
		Root: []crypto.PublicKey{key.Public()}, Threshold: 1, Targets: key.Public(), Online: other.Public(),
	}, []trust.Key{key}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Missing > 0 {
			t.Errorf("%s lacks signatures", f.Name)
		}
	}
	if _, err := trust.Open(trust.Config{Dir: t.TempDir(), Root: files[0].Data}); err != nil {
		t.Error(err)
	}
}

// TestKeyOfAProgram: a program that anybody can write signs, here with a file and
// openssl; what is no signature by its key is refused.
func TestKeyOfAProgram(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("######## NOT TESTED: there is no openssl (make deps) ########")
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "signer")
	text := `#!/bin/sh
key=$1
case $2 in
public) openssl pkey -in "$key" -pubout ;;
sign) cat >"$key.in"; openssl pkeyutl -sign -inkey "$key" -in "$key.in" $(cat "$key.options") ;;
esac
`
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	make := func(name, options string, args ...string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if out, err := exec.Command("openssl", append([]string{"genpkey", "-out", file}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := os.WriteFile(file+".options", []byte(options), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	ed := make("ed", "-rawin", "-algorithm", "ed25519")
	ec := make("ec", "", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
	for _, file := range []string{ed, ec} {
		key, err := trust.ReadKey("exec:"+script+" "+file, unasked)
		if err != nil {
			t.Fatal(err)
		}
		founded(t, key)
	}
	key, err := trust.ReadKey("exec:"+script+" "+ed, unasked)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(make("another", "", "-algorithm", "ed25519"), ed); err != nil {
		t.Fatal(err)
	}
	if _, err := key.Sign(nil, []byte("x"), crypto.Hash(0)); err == nil || !strings.Contains(err.Error(), "no signature by its key") {
		t.Errorf("another key signs: %v", err)
	}
	rsa := make("rsa", "", "-algorithm", "RSA")
	for name, want := range map[string]string{
		"exec:": "want exec:PROGRAM", "exec:/nowhere": "/nowhere", "exec:false": "false", "exec:" + script + " " + rsa: "cannot use a key of type",
	} {
		if _, err := trust.ReadKey(name, unasked); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// TestKeyInAModule: a security module signs by PKCS#11, here SoftHSM.
func TestKeyInAModule(t *testing.T) {
	whole := trusttest.Module(t)
	const query = "?module-path=" + trusttest.ModulePath
	for name, ask := range map[string]func() ([]byte, error){
		whole:                                 unasked,
		"pkcs11:token=company;id=%07" + query: func() ([]byte, error) { return []byte(trusttest.ModulePIN), nil },
	} {
		key, err := trust.ReadKey(name, ask)
		if err != nil {
			t.Fatal(err)
		}
		founded(t, key)
	}
	for name, want := range map[string]string{
		"pkcs11:object=x": "module-path", "pkcs11:token=company" + query: "object=NAME",
		"pkcs11:token=company;object=none" + query: "pkcs11-tool", "pkcs11:token=none;object=x" + query: "pkcs11-tool",
	} {
		if _, err := trust.ReadKey(name, unasked); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	key, err := trust.ReadKey("pkcs11:token=company;id=%07"+query, unasked)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.Sign(nil, make([]byte, 32), crypto.SHA256); !errors.Is(err, errNoPassphrase) {
		t.Errorf("without a PIN: %v", err)
	}
}
