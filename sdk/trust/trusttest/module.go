package trusttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What [Module] makes.
const (
	ModulePath = "/usr/lib/softhsm/libsofthsm2.so"
	ModulePIN  = "1234"
)

// Module makes a security module of SoftHSM with a key, as long as the test runs, and
// returns its PKCS#11 URI: token company, object "root key", id 07, with the PIN in a
// file. Without SoftHSM the test is skipped.
func Module(t *testing.T) (uri string) {
	t.Helper()
	for _, needed := range []string{ModulePath, "softhsm2-util", "pkcs11-tool"} {
		_, noFile := os.Stat(needed)
		if _, err := exec.LookPath(needed); err != nil && noFile != nil {
			t.Skipf("######## NOT TESTED: there is no %s (make deps) ########", needed)
		}
	}
	dir := t.TempDir()
	tokens, conf, pin := filepath.Join(dir, "tokens"), filepath.Join(dir, "conf"), filepath.Join(dir, "pin")
	for _, err := range []error{
		os.Mkdir(tokens, 0o700), os.WriteFile(conf, []byte("directories.tokendir = "+tokens+"\n"), 0o600), os.WriteFile(pin, []byte(ModulePIN+"\n"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	for _, c := range [][]string{
		{"softhsm2-util", "--init-token", "--free", "--label", "company", "--so-pin", "4321", "--pin", ModulePIN},
		{"pkcs11-tool", "--module", ModulePath, "--token-label", "company", "--login", "--pin", ModulePIN, "--keypairgen", "--key-type", "EC:prime256v1", "--label", "root key", "--id", "07"},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", c, err, out)
		}
	}
	return "pkcs11:token=company;object=root%20key?module-path=" + ModulePath + "&pin-source=file:" + pin
}
