package rauc

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// The test binary is also the updater that the kit launches. Bundles are built
// once.
func TestMain(m *testing.M) {
	if updater.Launched() {
		updater.Main(Type, open)
	}
	dir, err := os.MkdirTemp("", "bundles")
	if err != nil {
		panic(err)
	}
	bundles = dir
	code := m.Run()
	detach()
	os.RemoveAll(dir)
	os.Exit(code)
}

// detach frees the loop devices of bundles that RAUC was killed with: there are few.
func detach() {
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, file := range files {
		if backing, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(backing), bundles+"/") {
			exec.Command("losetup", "-d", "/dev/"+filepath.Base(filepath.Dir(filepath.Dir(file)))).Run()
		}
	}
}

// open makes an updater that works on the machine of its environment.
func open(env updater.Environment) (updater.Updater, error) {
	u, err := Open(env)
	if err != nil {
		return nil, err
	}
	u.(*Updater).bus = "unix:path=" + filepath.Join(env.Run, "bus")
	u.(*Updater).boot = func() string {
		id, _ := os.ReadFile(filepath.Join(env.Run, "boot"))
		return string(id)
	}
	return u, nil
}

// A machine is a device with a system bus and RAUC, both real, and two slots that
// are files. Its boot loader is a script that RAUC calls, and boot: it boots the
// primary slot, or the other one if that is bad or broken.
type machine struct {
	testing.TB
	dir     string
	bus     string // socket
	boots   int
	booted  string // "A" or "B"
	service *exec.Cmd
}

const backend = `#!/bin/sh
cd %s/loader
echo "$@" >>log
case "$1" in
get-primary) cat primary ;;
set-primary) echo "$2" >primary; echo good >"$2" ;;
get-state) cat "$2" ;;
set-state) echo "$3" >"$2" ;;
*) exit 1 ;;
esac
`

const system = `[system]
compatible=test-device
bootloader=custom
mountprefix=%[1]s/mnt
bundle-formats=plain
%[2]s
[handlers]
bootloader-custom-backend=%[1]s/backend
[keyring]
path=%[3]s/ours.crt
check-crl=false
[slot.rootfs.0]
device=%[1]s/A
type=raw
bootname=A
[slot.rootfs.1]
device=%[1]s/B
type=raw
bootname=B
`

const (
	slotSize   = 8 << 10
	statusFile = "statusfile=%s/status\n"
)

// newMachine boots a machine whose system bus is in run. Its slot A has what it
// came with. The options are RAUC's.
func newMachine(t testing.TB, run, options string) *machine {
	t.Helper()
	for _, tool := range []string{"rauc", "dbus-daemon", "mksquashfs"} {
		if _, err := exec.LookPath(tool); err != nil || os.Geteuid() != 0 {
			t.Skipf("######## NOT TESTED: it needs root and %s (make deps) ########", tool)
		}
	}
	m := &machine{TB: t, dir: t.TempDir(), bus: filepath.Join(run, "bus")}
	for name, content := range map[string]string{
		"backend": fmt.Sprintf(backend, m.dir), "system.conf": fmt.Sprintf(system, m.dir, options, keys(t)),
		"loader/primary": "A\n", "loader/A": "good\n", "loader/B": "good\n", "loader/log": "",
		"A": pad("factory"), "B": pad(""), "mnt/none": "",
		"bus.conf": `<busconfig><type>system</type><listen>unix:path=` + m.bus + `</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/></policy></busconfig>`,
	} {
		m.write(name, content)
	}
	m.start("dbus-daemon", "--config-file="+m.path("bus.conf"), "--nofork", "--nopidfile")
	m.eventually("there is a system bus", func() bool {
		conn, err := dbus.Connect("unix:path=" + m.bus)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	m.boot()
	return m
}

func (m *machine) path(elem string) string { return filepath.Join(m.dir, elem) }

func (m *machine) write(name, content string) {
	m.Helper()
	m.must(os.MkdirAll(filepath.Dir(m.path(name)), 0o755))
	m.must(os.WriteFile(m.path(name), []byte(content), 0o755))
}

func (m *machine) read(name string) string {
	m.Helper()
	data, err := os.ReadFile(m.path(name))
	m.must(err)
	first, _, _ := strings.Cut(string(data), "\n")
	return first
}

func (m *machine) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

func pad(content string) string {
	return content + "\n" + strings.Repeat("\x00", slotSize-len(content)-1)
}

// start starts a program that ends with the test. In a mount namespace of its
// own, nothing stays mounted then.
func (m *machine) start(name string, args ...string) *exec.Cmd {
	m.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS=unix:path="+m.bus)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	log, err := os.OpenFile(m.path(name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	m.must(err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	m.must(cmd.Start())
	m.Cleanup(func() { m.end(cmd) })
	return cmd
}

func (m *machine) end(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		cmd.Process.Kill()
		cmd.Wait()
	}
}

// boot ends what runs and boots a slot.
func (m *machine) boot() {
	m.Helper()
	if m.service != nil {
		m.end(m.service)
	}
	first := m.read("loader/primary")
	m.booted = ""
	for _, slot := range []string{first, string("AB"[strings.Index("BA", first)])} {
		if m.booted == "" && m.read("loader/"+slot) == "good" {
			if m.read(slot) != "broken" {
				m.booted = slot
				continue
			}
			m.write("loader/"+slot, "bad\n") // it has tried often enough
		}
	}
	if m.booted == "" {
		m.Fatal("the device is dead: no slot can be booted")
	}
	m.boots++
	m.must(os.WriteFile(filepath.Join(filepath.Dir(m.bus), "boot"), fmt.Append(nil, m.boots), 0o600))
	m.service = m.start("rauc", "-c", m.path("system.conf"), "service", "--override-boot-slot="+m.booted)
	conn, err := dbus.Connect("unix:path=" + m.bus)
	m.must(err)
	defer conn.Close()
	m.eventually("RAUC answers", func() bool {
		_, err := conn.Object(busName, "/").GetProperty(api + ".BootSlot")
		return err == nil
	})
}

func (m *machine) eventually(what string, holds func() bool) {
	m.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(m.path("rauc.log"))
			m.Fatalf("not within a minute: %s\n%s", what, log)
		}
	}
}

// runs is the version in the slot that is booted; "" is what it came with.
func (m *machine) runs() string {
	m.Helper()
	return strings.TrimPrefix(m.read(m.booted), "factory")
}

// bundles is where bundles and keys are, which are made one at a time.
var (
	bundles  string
	building sync.Mutex
)

// keys makes two authorities, and a key of each that bundles are signed with.
func keys(t testing.TB) (dir string) {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	dir = filepath.Join(bundles, "keys")
	if os.Mkdir(dir, 0o700) != nil {
		return dir
	}
	for _, name := range []string{"ours", "theirs"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Unix(0, 0), NotAfter: time.Now().AddDate(10, 0, 0),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		}
		certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for file, block := range map[string]*pem.Block{name + ".crt": {Type: "CERTIFICATE", Bytes: certificate}, name + ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
			if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// bundle builds one that somebody has signed, for devices that are compatible.
func bundle(t testing.TB, content, signer, compatible string) string {
	t.Helper()
	name, key := filepath.Join(bundles, strings.Join([]string{content, signer, compatible}, "-")+".raucb"), filepath.Join(keys(t), signer)
	building.Lock()
	defer building.Unlock()
	if _, err := os.Stat(name); err == nil {
		return name
	}
	dir := t.TempDir()
	manifest := "[update]\ncompatible=" + compatible + "\nversion=" + content + "\n[bundle]\nformat=plain\n[image.rootfs]\nfilename=rootfs.img\n"
	for file, text := range map[string]string{"manifest.raucm": manifest, "rootfs.img": pad(content)} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("rauc", "bundle", "--cert="+key+".crt", "--key="+key+".key", dir, name).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return name
}

// tampered is a bundle of ours in which one byte of the image is another one.
func tampered(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile(bundle(t, "1.0.0", "ours", "test-device"))
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.Clone(data)
	data[len(data)/4] ^= 1
	name := filepath.Join(t.TempDir(), "tampered.raucb")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
