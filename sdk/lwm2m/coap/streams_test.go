package coap_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// A memory is what a device does with what it is sent.
type memory struct {
	mu      sync.Mutex
	size    int64 // announced
	got     bytes.Buffer
	pieces  int
	closed  bool
	aborted error
	refuse  error // the second piece
}

func (m *memory) begin(_ context.Context, _ lwm2m.Path, size int64) (lwm2m.Stream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.size, m.pieces, m.closed, m.aborted = size, 0, false, nil
	m.got.Reset()
	return m, nil
}

func (m *memory) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pieces++; m.pieces == 2 && m.refuse != nil {
		return 0, m.refuse
	}
	return m.got.Write(b)
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func (m *memory) Abort(cause error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.aborted = cause
}

// is checks that all has arrived, and in pieces.
func (m *memory) is(t *testing.T, want []byte) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !bytes.Equal(m.got.Bytes(), want) || !m.closed || m.aborted != nil || m.pieces < len(want)>>10 {
		t.Errorf("%d of %d bytes in %d pieces, closed %v, aborted: %v", m.got.Len(), len(want), m.pieces, m.closed, m.aborted)
	}
}

var firmware = lwm2m.NewPath(objects.FirmwareID, 0, objects.FirmwarePackage)

// streaming starts a device whose object 5 takes packages as they arrive.
func streaming(t *testing.T, version string) (*memory, *server, *device, *lwm2m.Device) {
	t.Helper()
	m := &memory{}
	object := objects.NewMemory(objects.Firmware)
	object.SetValue(0, objects.FirmwareState, lwm2m.Int(0))
	object.OnStream = m.begin
	s, d, remote := connect(t, func(c *lwm2m.ClientConfig) {
		c.Objects, c.Version = append(c.Objects, object), version
	})
	return m, s, d, remote
}

func noise(bytes int) []byte {
	b := make([]byte, bytes)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// TestStream writes more than a transport keeps of a request.
func TestStream(t *testing.T) {
	m, _, _, remote := streaming(t, "1.1")
	long := noise(3<<20 + 77)
	if err := remote.Write(t.Context(), firmware, lwm2m.Replace, []lwm2m.Record{{Path: firmware, Value: lwm2m.Opaque(long)}}); err != nil {
		t.Fatal(err)
	}
	m.is(t, long)
	if err := remote.WriteFrom(t.Context(), firmware, bytes.NewReader(long), int64(len(long))); err != nil {
		t.Fatal(err)
	}
	m.is(t, long)
	m.mu.Lock()
	announced := m.size
	m.mu.Unlock()
	if announced != int64(len(long)) {
		t.Errorf("%d bytes were announced of %d", announced, len(long))
	}
	if err := remote.WriteFrom(t.Context(), firmware, bytes.NewReader(long[:1<<20]), int64(len(long))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a body that ends too soon: %v", err)
	}

	m.mu.Lock()
	m.refuse = lwm2m.Errorf(lwm2m.CodeTooLarge, "the disk is full")
	m.mu.Unlock()
	err := remote.Write(t.Context(), firmware, lwm2m.Replace, []lwm2m.Record{{Path: firmware, Value: lwm2m.Opaque(long)}})
	wantCode(t, "a stream that is refused", err, lwm2m.CodeTooLarge)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || !errors.Is(m.aborted, m.refuse) || m.pieces != 2 {
		t.Errorf("closed %v, aborted: %v, after %d pieces", m.closed, m.aborted, m.pieces)
	}
}

// TestStreamEnds has the server give up, and the device end, in the middle.
func TestStreamEnds(t *testing.T) {
	m, _, d, remote := streaming(t, "1.1")
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	written := make(chan error, 1)
	go func() {
		written <- remote.Write(ctx, firmware, lwm2m.Replace, []lwm2m.Record{{Path: firmware, Value: lwm2m.Opaque(noise(3 << 20))}})
	}()
	eventually(t, "some blocks are taken", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return m.pieces > 3 })
	giveUp()
	if err := <-written; err == nil {
		t.Fatal("all was written before")
	}
	d.stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.aborted == nil || m.closed {
		t.Errorf("closed %v, aborted: %v", m.closed, m.aborted)
	}
}

// TestLibcoapPushes is libcoap's client as a server that writes a long package,
// as it is and as TLV.
func TestLibcoapPushes(t *testing.T) {
	libcoap(t, "coap-client-notls")
	m, s, d, _ := streaming(t, "1.1")
	eventually(t, "the device knows", d.Registered)
	s.stop()
	_, port, _ := net.SplitHostPort(s.address)
	long := noise(1<<20 + 100_000)
	length := []byte{byte(len(long) >> 16), byte(len(long) >> 8), byte(len(long))}
	tlv := append(append([]byte{0b11_0_11_000, objects.FirmwarePackage}, length...), long...)
	for format, payload := range map[string][]byte{"42": long, "11542": tlv} {
		file := filepath.Join(t.TempDir(), "package")
		if err := os.WriteFile(file, payload, 0o600); err != nil {
			t.Fatal(err)
		}
		out := coapClient(t, "-p", port, "-m", "put", "-t", format, "-b", "1024", "-f", file, "coap://"+d.conn.LocalAddr().String()+firmware.String())
		if out != "" {
			t.Errorf("format %s: %s", format, out)
		}
		m.is(t, long)
		m.mu.Lock()
		if format == "42" && m.size != 0 && m.size != int64(len(long)) {
			t.Errorf("announced: %d bytes", m.size)
		}
		m.mu.Unlock()
	}
	stranger := coapClient(t, "-m", "put", "-t", "42", "-b", "1024", "-e", strings.Repeat("x", 3000), "coap://"+d.conn.LocalAddr().String()+firmware.String())
	if !strings.HasPrefix(stranger, "4.01") {
		t.Errorf("somebody else pushes: %q", stranger)
	}
}

// TestABodyThatFails is no fault of the device.
func TestABodyThatFails(t *testing.T) {
	t.Parallel()
	_, _, remote := connect(t, nil)
	broken := errors.New("disk broken")
	for name, test := range map[string]struct {
		body io.Reader
		want error
	}{
		"fails":      {io.MultiReader(strings.NewReader(strings.Repeat("x", 3000)), iotest.ErrReader(broken)), broken},
		"ends early": {strings.NewReader(strings.Repeat("x", 3000)), io.ErrUnexpectedEOF},
	} {
		err := remote.WriteFrom(deadline(t), wanted, test.body, 5000)
		if !errors.Is(err, test.want) || errors.Is(err, lwm2m.ErrUnreachable) {
			t.Errorf("a body that %s: %v", name, err)
		}
	}
}
