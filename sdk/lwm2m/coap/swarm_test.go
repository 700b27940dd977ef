package coap

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// A swarm is many simulated devices in a process of their own, so that what the
// server needs can be told from what they need. All have one socket, and each an
// address of its own in 127.0.0.0/8. They register, and answer every GET.

var swarmKey = []byte("0123456789abcdef")

const (
	swarmServer = "TRANQUIL_SWARM_SERVER" // set in the process of a swarm
	swarmSize   = "TRANQUIL_SWARM_SIZE"
)

func init() { // before the test runner: this process is a swarm
	if address := os.Getenv(swarmServer); address != "" {
		n, _ := strconv.Atoi(os.Getenv(swarmSize))
		if err := runSwarm(address, n, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "swarm:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

type swarm struct {
	socket  *net.UDPConn
	server  *net.UDPAddr
	secure  bool
	members []*member
}

// member is one device. What it waits for comes over answers.
type member struct {
	swarm   *swarm
	source  [4]byte
	answers chan message.Message

	mu      sync.Mutex
	session *dtls.Conn
	below   *below
	mid     int32
}

// below is what carries one DTLS session.
type below struct {
	*member
	cipher chan []byte
	closed chan struct{}
	stop   func()
}

// runSwarm registers all devices at once with each line of input.
func runSwarm(address string, n int, in io.Reader, out io.Writer) error {
	host, secure := strings.CutPrefix(address, "coaps://")
	to, err := net.ResolveUDPAddr("udp4", strings.TrimPrefix(host, "coap://"))
	if err != nil {
		return err
	}
	s := &swarm{server: to, secure: secure, members: make([]*member, n)}
	if s.socket, err = net.ListenUDP("udp4", nil); err != nil {
		return err
	}
	_ = s.socket.SetReadBuffer(1 << 22)
	raw, err := s.socket.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_PKTINFO, 1) }); e != nil || err != nil {
		return fmt.Errorf("cannot learn to whom datagrams come: %v, %v", e, err)
	}
	for i := range s.members {
		m := &member{swarm: s, answers: make(chan message.Message, 1)}
		binary.BigEndian.PutUint32(m.source[:], 127<<24|uint32(i+256))
		s.members[i] = m
	}
	go s.read()
	for lines := bufio.NewScanner(in); lines.Scan(); {
		at, _ := strconv.Atoi(lines.Text())
		if err := s.register(at); err != nil {
			return err
		}
		fmt.Fprintln(out, "registered")
	}
	return nil
}

// register lets all devices register, so many at a time, each with a few attempts.
func (s *swarm) register(at int) error {
	slots, failed := make(chan struct{}, at), make(chan error, len(s.members))
	var all sync.WaitGroup
	for i, m := range s.members {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			err := m.register(i)
			for try := 1; err != nil && try < 5; try++ {
				err = m.register(i)
			}
			if err != nil {
				failed <- fmt.Errorf("%s cannot register: %w", memberName(i), err)
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func (m *member) register(i int) error {
	if m.swarm.secure {
		if err := m.connect(i); err != nil {
			return err
		}
	}
	wire := toWire(&lwm2m.Message{
		Code: lwm2m.Post, Token: []byte{byte(i)}, Path: []string{"rd"}, Format: new(lwm2m.FormatLink), Payload: []byte("</3303/0>"),
		Query: []string{"ep=" + memberName(i), "lt=86400", "lwm2m=1.1", "b=U"},
	})
	m.mu.Lock()
	m.mid++
	wire.Type, wire.MessageID = message.Confirmable, m.mid
	m.mu.Unlock()
	b, err := marshal(wire)
	if err != nil {
		return err
	}
	for wait := 2 * time.Second; wait < time.Minute; wait *= 2 {
		m.write(b)
		select {
		case r := <-m.answers:
			if r.Code == codes.Created {
				return nil
			}
		case <-time.After(wait):
		}
	}
	return lwm2m.ErrTimeout
}

func memberName(i int) string { return "member-" + strconv.Itoa(i) }

// arrived takes a message: an answer, or a GET to answer.
func (m *member) arrived(b []byte) {
	in, err := unmarshal(clone(b))
	if err != nil {
		return
	}
	if in.Code != codes.GET {
		select {
		case m.answers <- in:
		default:
		}
		return
	}
	out := &lwm2m.Message{Code: lwm2m.CodeContent, Token: in.Token, Format: new(lwm2m.FormatText), Payload: []byte("21.5")}
	if in.Options.HasOption(message.Observe) {
		out.Observe = new(uint32(1))
	}
	wire := toWire(out)
	wire.Type, wire.MessageID = message.Acknowledgement, in.MessageID
	if answer, err := marshal(wire); err == nil {
		m.write(answer)
	}
}

func (m *member) write(b []byte) {
	m.mu.Lock()
	session := m.session
	m.mu.Unlock()
	if session != nil {
		_, _ = session.Write(b)
		return
	}
	m.send(b)
}

// connect makes a new DTLS session.
func (m *member) connect(i int) error {
	m.mu.Lock()
	former, under := m.session, &below{member: m, cipher: make(chan []byte, 16), closed: make(chan struct{})}
	under.stop = sync.OnceFunc(func() { close(under.closed) })
	m.session, m.below = nil, under
	m.mu.Unlock()
	if former != nil {
		_ = former.Close()
	}
	session, err := dtls.ClientWithOptions(under, m.swarm.server,
		dtls.WithPSK(func([]byte) ([]byte, error) { return swarmKey, nil }), dtls.WithPSKIdentityHint([]byte(memberName(i))),
		dtls.WithCipherSuites(dtls.TLS_PSK_WITH_AES_128_CCM_8))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := session.HandshakeContext(ctx); err != nil {
		_ = session.Close()
		return err
	}
	m.mu.Lock()
	m.session = session
	m.mu.Unlock()
	go func() {
		for b := make([]byte, 2048); ; {
			n, err := session.Read(b)
			if err != nil {
				return
			}
			m.arrived(b[:n])
		}
	}()
	return nil
}

// send sends a datagram from the member's own address.
func (m *member) send(b []byte) {
	oob := make([]byte, syscall.CmsgSpace(syscall.SizeofInet4Pktinfo))
	var h syscall.Cmsghdr
	h.Level, h.Type = syscall.IPPROTO_IP, syscall.IP_PKTINFO
	h.SetLen(syscall.CmsgLen(syscall.SizeofInet4Pktinfo))
	_, _ = binary.Encode(oob, binary.NativeEndian, h) // cannot fail
	copy(oob[syscall.CmsgLen(0)+4:], m.source[:])     // where it comes from
	_, _, _ = m.swarm.socket.WriteMsgUDP(b, oob, m.swarm.server)
}

func (u *below) WriteTo(b []byte, _ net.Addr) (int, error) {
	u.send(b)
	return len(b), nil
}

func (u *below) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case datagram := <-u.cipher:
		return copy(b, datagram), u.swarm.server, nil
	case <-u.closed:
		return 0, nil, net.ErrClosed
	}
}

func (u *below) Close() error                     { u.stop(); return nil }
func (u *below) LocalAddr() net.Addr              { return u.swarm.socket.LocalAddr() }
func (u *below) SetDeadline(t time.Time) error    { return u.SetReadDeadline(t) }
func (u *below) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline is used to end a read, and so the session.
func (u *below) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		u.stop()
	}
	return nil
}

// read gives each datagram to the member that it is for.
func (s *swarm) read() {
	b, oob := make([]byte, maxDatagram), make([]byte, 1024)
	for {
		n, noob, _, _, err := s.socket.ReadMsgUDP(b, oob)
		if err != nil {
			return
		}
		infos, err := syscall.ParseSocketControlMessage(oob[:noob])
		if err != nil || len(infos) == 0 || len(infos[0].Data) < syscall.SizeofInet4Pktinfo {
			continue
		}
		i := int(binary.BigEndian.Uint32(infos[0].Data[8:])&0xffffff) - 256
		if i < 0 || i >= len(s.members) {
			continue
		}
		m := s.members[i]
		m.mu.Lock()
		under := m.below
		m.mu.Unlock()
		if under == nil {
			m.arrived(b[:n])
			continue
		}
		select {
		case under.cipher <- clone(b[:n]):
		default: // lost
		}
	}
}

// startSwarm gives the function that registers all devices of a new swarm.
func startSwarm(t testing.TB, address string, n int) (register func(at int)) {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), swarmServer+"="+address, swarmSize+"="+strconv.Itoa(n))
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = command.Process.Kill(); _ = command.Wait() })
	lines := bufio.NewScanner(out)
	return func(at int) {
		fmt.Fprintln(in, at)
		if !lines.Scan() {
			t.Fatal("the swarm has ended")
		}
	}
}
