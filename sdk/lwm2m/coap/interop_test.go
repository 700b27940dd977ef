package coap_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// The peers here are libcoap's programs (Debian's libcoap3-bin): nobody who wrote
// this package wrote them.

func libcoap(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("######## %s is missing: NOT CHECKED against libcoap. Run make deps. ########", program)
	}
	return path
}

// coapClient runs libcoap's client once and gives what it printed.
func coapClient(t *testing.T, arguments ...string) string {
	t.Helper()
	return coapProgram(t, libcoap(t, "coap-client-notls"), arguments...)
}

func coapProgram(t *testing.T, program string, arguments ...string) string {
	t.Helper()
	command := exec.CommandContext(deadline(t), program, append([]string{"-B", "20"}, arguments...)...)
	var errors bytes.Buffer
	command.Stderr = &errors
	out, err := command.Output()
	if err != nil {
		t.Fatalf("coap-client %q: %v\n%s%s", arguments, err, out, errors.Bytes())
	}
	return strings.TrimSpace(string(out) + errors.String())
}

// TestLibcoapRegisters is libcoap's client as a device, against our server.
func TestLibcoapRegisters(t *testing.T) {
	libcoap(t, "coap-client-notls")
	s := startServer(t, "127.0.0.1:0")
	rd := "coap://" + s.address + "/rd"
	var links []string
	for i := range 300 { // several blocks
		links = append(links, "</3303/"+strconv.Itoa(i)+">")
	}
	list := filepath.Join(t.TempDir(), "links")
	if err := os.WriteFile(list, []byte(strings.Join(links, ",")), 0o600); err != nil {
		t.Fatal(err)
	}
	coapClient(t, "-m", "post", "-t", "40", "-b", "256", "-f", list, rd+"?ep=libcoap&lt=60&lwm2m=1.1&b=U")
	e := s.event(t, lwm2m.Registered)
	if e.Registration.Endpoint != "libcoap" || len(e.Registration.Objects) != len(links) {
		t.Errorf("registered %q with %d instances", e.Registration.Endpoint, len(e.Registration.Objects))
	}
	coapClient(t, "-m", "post", rd+"/"+e.Registration.ID+"?lt=90")
	if e := s.event(t, lwm2m.Updated); e.Registration.Lifetime != 90*time.Second {
		t.Errorf("lifetime %v", e.Registration.Lifetime)
	}
	coapClient(t, "-m", "delete", rd+"/"+e.Registration.ID)
	s.event(t, lwm2m.Deregistered)
	if out := coapClient(t, "-m", "delete", rd+"/"+e.Registration.ID); !strings.HasPrefix(out, "4.04") {
		t.Errorf("deregistered twice: %q", out)
	}
}

// TestLibcoapOperates is libcoap's client as a management server, against our
// device: it takes the port of the server that the device registered with.
func TestLibcoapOperates(t *testing.T) {
	libcoap(t, "coap-client-notls")
	s, d, _ := connect(t, nil)
	executed := make(chan string, 1)
	d.hook(nil, func(_ context.Context, p lwm2m.Path, arguments string) error {
		executed <- p.String() + " " + arguments
		return nil
	})
	eventually(t, "the device knows", d.Registered)
	s.stop()
	_, port, _ := net.SplitHostPort(s.address)
	client := func(p lwm2m.Path, arguments ...string) string {
		return coapClient(t, append(append([]string{"-p", port}, arguments...), "coap://"+d.conn.LocalAddr().String()+p.String())...)
	}
	if got := client(reading, "-A", "0"); got != "21.5" {
		t.Errorf("read as text: %q", got)
	}
	if got, want := client(version, "-A", "110"), `[{"bn":"/26250/0/1","vs":"1.0.0"}]`; got != want {
		t.Errorf("read as SenML JSON: %q", got)
	}
	if got, want := client(version, "-A", "11543"), `{"bn":"/26250/0/1","e":[{"sv":"1.0.0"}]}`; got != want {
		t.Errorf("read as LwM2M JSON: %q", got)
	}
	client(wanted, "-m", "put", "-t", "0", "-e", "2.0.0")
	if got := d.component.Value(wanted).Text(); got != "2.0.0" {
		t.Errorf("written %q", got)
	}
	long := strings.Repeat("0123456789", 3000)
	file := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(file, []byte(long), 0o600); err != nil {
		t.Fatal(err)
	}
	client(wanted, "-m", "put", "-t", "0", "-b", "512", "-f", file)
	if got := d.component.Value(wanted).Text(); got != long {
		t.Errorf("%d bytes arrived in blocks, want %d", len(got), len(long))
	}
	if got := client(wanted, "-A", "0", "-b", "256"); got != long {
		t.Errorf("%d bytes were read in blocks, want %d", len(got), len(long))
	}
	client(component.Child(objects.ComponentCheckNow), "-m", "post", "-t", "0", "-e", "0='x'")
	if got := <-executed; got != "/26250/0/9 0='x'" {
		t.Errorf("executed %q", got)
	}
	if got, want := client(reading.Prefix(lwm2m.DepthObject), "-A", "40"), "</3303>;ver=1.1,</3303/0>,</3303/0/5518>"; !strings.HasPrefix(got, want) {
		t.Errorf("discovered %q", got)
	}
	if got := client(lwm2m.NewPath(0, 0, 0)); !strings.HasPrefix(got, "4.01") {
		t.Errorf("read object 0: %q", got)
	}
	observed := make(chan string, 1)
	go func() { observed <- client(reading, "-A", "0", "-s", "2") }()
	for out := ""; out == ""; {
		d.Changed(d.sensor.Reading(0, 30.25, "Cel", time.Now())...)
		select {
		case out = <-observed:
			if !strings.Contains(out, "30.25") {
				t.Errorf("observed %q", out)
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// notified passes notifications on.
type notified chan *lwm2m.Message

func (notified) ServeRequest(context.Context, string, *lwm2m.Message) *lwm2m.Message {
	return &lwm2m.Message{Code: lwm2m.CodeNotFound}
}

func (n notified) ServeNotification(_ string, m *lwm2m.Message, done func(lwm2m.Reception)) {
	select {
	case n <- m:
	default:
	}
	done(lwm2m.Accepted)
}

// startCoapServer runs libcoap's server; its DTLS port is one above the other. It
// gets a loopback address of its own: on the usual one, whatever runs beside the
// test may take the port for TCP, or between the look and the start, and libcoap
// goes on without it.
func startCoapServer(t *testing.T, program string, offset int, arguments ...string) (address string) {
	t.Helper()
	path := libcoap(t, program)
	pid, port := os.Getpid(), 5684+2*int(coapServers.Add(1))
	host := fmt.Sprintf("127.%d.%d.%d", 1+pid>>16&0x7f, pid>>8&0xff, pid&0xff)
	command := exec.Command(path, append(arguments, "-A", host, "-p", strconv.Itoa(port+offset))...)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	return net.JoinHostPort(host, strconv.Itoa(port))
}

var coapServers atomic.Int32 // that were started

// TestLibcoapServes is our transport against libcoap's server, which listens for UDP
// and TCP.
func TestLibcoapServes(t *testing.T) {
	for _, scheme := range []string{"coap://", "coap+tcp://"} {
		t.Run(scheme, func(t *testing.T) {
			address := startCoapServer(t, "coap-server-notls", 0)
			// Not quick: libcoap does again what it is sent again.
			conn, err := coap.Dial(scheme+address, coap.WithLogger(logger(t)))
			if err != nil {
				t.Fatal(err)
			}
			transportAgainstLibcoap(t, conn, scheme+address)
		})
	}
}

// TestLibcoapTCP is libcoap's client as a device over TCP.
func TestLibcoapTCP(t *testing.T) {
	libcoap(t, "coap-client-notls")
	s := startServer(t, "coap+tcp://127.0.0.1:0")
	for _, instances := range []int{300, 3000} {
		var links []string
		for i := range instances {
			links = append(links, "</3303/"+strconv.Itoa(i)+">")
		}
		file := filepath.Join(t.TempDir(), "links")
		if err := os.WriteFile(file, []byte(strings.Join(links, ",")), 0o600); err != nil {
			t.Fatal(err)
		}
		coapClient(t, "-m", "post", "-t", "40", "-f", file, "coap+tcp://"+s.address+"/rd?ep=libcoap&lt=60&lwm2m=1.1&b=T")
		e := s.event(t, lwm2m.Registered)
		if r := e.Registration; r.Endpoint != "libcoap" || r.Binding != "T" || len(r.Objects) != instances {
			t.Errorf("registered %q over %q with %d instances", r.Endpoint, r.Binding, len(r.Objects))
		}
	}
}

// TestLibcoapTLS is libcoap's client as a device over TLS (OpenSSL).
func TestLibcoapTLS(t *testing.T) {
	program := libcoap(t, "coap-client-openssl")
	root := newAuthority(t, "root", nil)
	s := startSecureServer(t, "coaps+tcp://127.0.0.1:0", coap.Certificate(root.issue(t, "localhost"), root.pool()))
	certificate, key := pemFiles(t, root.issue(t, "libcoap"))
	roots := pemFile(t, "CERTIFICATE", root.certificate.Raw)
	_, port, _ := net.SplitHostPort(s.address)
	coapProgram(t, program, "-c", certificate, "-j", key, "-C", roots, "-m", "post", "-t", "40", "-e", "</3303/0>",
		"coaps+tcp://localhost:"+port+"/rd?ep=libcoap&lt=60&lwm2m=1.1&b=T")
	if e := s.event(t, lwm2m.Registered); e.Registration.Identity != "libcoap" {
		t.Errorf("the identity is %q", e.Registration.Identity)
	}
}

func transportAgainstLibcoap(t *testing.T, conn *coap.Conn, address string) {
	t.Helper()
	notifications := make(notified, 10)
	run(t, conn, func(ctx context.Context, tr lwm2m.Transport) error { return tr.Serve(ctx, notifications) })
	var peer string
	exchange := func(m *lwm2m.Message) *lwm2m.Message {
		answer, err := conn.Exchange(deadline(t), peer, m)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	eventually(t, "libcoap's server answers", func() bool {
		var err error
		ctx, cancel := context.WithTimeout(deadline(t), time.Second)
		defer cancel()
		if peer, err = conn.Resolve(ctx, address); err != nil {
			return false
		}
		answer, err := conn.Exchange(deadline(t), peer, &lwm2m.Message{Code: lwm2m.Get})
		return err == nil && answer.Code == lwm2m.CodeContent
	})
	long := bytes.Repeat([]byte("0123456789"), 1000)
	data := []string{"example_data"}
	if answer := exchange(&lwm2m.Message{Code: lwm2m.Put, Path: data, Payload: long, Format: new(lwm2m.FormatText)}); !answer.Code.Success() {
		t.Fatalf("put: %v %s", answer.Code, answer.Payload)
	}
	if answer := exchange(&lwm2m.Message{Code: lwm2m.Get, Path: data}); !bytes.Equal(answer.Payload, long) {
		t.Errorf("got %d bytes, want %d", len(answer.Payload), len(long))
	}
	if answer := exchange(&lwm2m.Message{Code: lwm2m.Get, Path: []string{"nothing"}}); answer.Code != lwm2m.CodeNotFound {
		t.Errorf("got %v for what is not there", answer.Code)
	}
	token := []byte("time")
	answer := exchange(&lwm2m.Message{Code: lwm2m.Get, Path: []string{"time"}, Token: token, Observe: new(uint32(0))})
	if answer.Observe == nil {
		t.Fatalf("not observed: %v %s", answer.Code, answer.Payload)
	}
	select {
	case n := <-notifications:
		if !bytes.Equal(n.Token, token) || !n.Code.Success() {
			t.Errorf("notified %+v", n)
		}
	case <-time.After(patience):
		t.Error("no notification")
	}
}

// pemFiles writes a certificate and its key.
func pemFiles(t *testing.T, c tls.Certificate) (certificate, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pemFile(t, "CERTIFICATE", c.Certificate[0]), pemFile(t, "PRIVATE KEY", der)
}

func pemFile(t *testing.T, kind string, der []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
