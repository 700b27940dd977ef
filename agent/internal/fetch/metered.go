package fetch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

// ErrBudget says that a link that costs something has carried what it may this month.
// It takes another link, another month or a larger budget.
var ErrBudget = errors.New("byte budget of a metered link is used up")

// noteEach is how many bytes may be counted and yet be forgotten by a power cut.
const noteEach = 256 << 10

// A Link is a network interface whose bytes cost something.
type Link struct {
	Interface string // "wwan0"
	Budget    int64  // bytes a month (UTC), both ways, with the headers of IP and UDP
	Whole     int64  // bytes of a blob that may come over it without a delta; 0: whatever the budget allows
}

// A Metered dials, and counts what it exchanges over such links, in a file that
// survives restarts. A clock that goes back does not begin a month again.
type Metered struct {
	file  string
	links []Link

	mu    sync.Mutex
	spent spent
	noted int64 // bytes of all links, when the file was written last
}

// spent is what the file holds.
type spent struct {
	Month string           `json:"month"` // "2026-11"
	Bytes map[string]int64 `json:"bytes"` // by interface
}

// OpenMetered reads what was counted before; a file that is not there, or damaged,
// counts as nothing.
func OpenMetered(file string, links []Link) (*Metered, error) {
	m := &Metered{file: file, links: links, spent: spent{Bytes: map[string]int64{}}}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read what metered links have carried: %w", err)
	}
	var s spent
	if json.Unmarshal(b, &s) == nil && s.Bytes != nil {
		m.spent = s
	}
	return m, nil
}

// dialer makes connections.
func dialer() *net.Dialer { return &net.Dialer{Timeout: 10 * time.Second, Control: coap.InPieces} }

// Dial connects as net.Dialer does. The error is ErrBudget if that would be over a
// link with no budget left, as are those of the connection's Read and Write from the
// moment on that it has none.
func (m *Metered) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := dialer().DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	link := m.linkOf(conn.LocalAddr())
	if link == nil {
		return conn, nil
	}
	if err := m.add(link, 0, time.Now()); err != nil {
		conn.Close()
		return nil, err
	}
	c := &meteredConn{Conn: conn, meter: m, link: link}
	if _, udp := conn.(*net.UDPConn); udp {
		c.headers = 28
	}
	return c, nil
}

// Whole refuses that so many bytes of a blob are fetched from a host without a delta,
// if that goes over a link that is not for so many: see Config.Whole.
func (m *Metered) Whole(ctx context.Context, host string, bytes int64) error {
	if len(m.links) == 0 {
		return nil
	}
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "udp", net.JoinHostPort(host, "9")) // sends nothing
	if err != nil {
		return passing("%w", err)
	}
	defer conn.Close()
	link := m.linkOf(conn.LocalAddr())
	if link == nil || link.Whole == 0 || bytes <= link.Whole {
		return nil
	}
	return fmt.Errorf("%w: %d bytes would come over %s without a delta, which is for %d at most: connect another link, or raise metered.whole", ErrBudget, bytes, link.Interface, link.Whole)
}

// linkOf finds the metered link that an address of this machine belongs to.
func (m *Metered) linkOf(local net.Addr) *Link {
	host, _, err := net.SplitHostPort(local.String())
	if err != nil {
		return nil
	}
	for i, l := range m.links {
		nic, err := net.InterfaceByName(l.Interface)
		if err != nil {
			continue // it is not there now
		}
		addrs, _ := nic.Addrs()
		for _, a := range addrs {
			if n, is := a.(*net.IPNet); is && n.IP.Equal(net.ParseIP(host)) {
				return &m.links[i]
			}
		}
	}
	return nil
}

// add counts bytes.
func (m *Metered) add(l *Link, bytes int64, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if month := now.UTC().Format("2006-01"); cmp.Compare(month, m.spent.Month) > 0 {
		m.spent = spent{Month: month, Bytes: map[string]int64{}}
		m.noted = 0
	}
	m.spent.Bytes[l.Interface] += bytes
	var all int64
	for _, n := range m.spent.Bytes {
		all += n
	}
	if all-m.noted >= noteEach {
		if err := m.note(); err != nil {
			return err
		}
		m.noted = all
	}
	if used := m.spent.Bytes[l.Interface]; used >= l.Budget {
		return fmt.Errorf("%w: %s has carried %d of %d bytes in %s: connect another link, raise its budget, or wait", ErrBudget, l.Interface, used, l.Budget, m.spent.Month)
	}
	return nil
}

// note writes the file. The caller holds the lock.
func (m *Metered) note() error {
	b, err := json.Marshal(m.spent)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(m.file, b, 0o600); err != nil {
		return fmt.Errorf("cannot note what metered links have carried: %w", err)
	}
	return nil
}

// Close writes down what was counted.
func (m *Metered) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.spent.Month == "" {
		return nil
	}
	return m.note()
}

// A meteredConn counts.
type meteredConn struct {
	net.Conn
	meter   *Metered
	link    *Link
	headers int64 // bytes that each datagram has besides
}

func (c *meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		err = cmp.Or(c.meter.add(c.link, int64(n)+c.headers, time.Now()), err)
	}
	return n, err
}

func (c *meteredConn) Write(b []byte) (int, error) {
	if err := c.meter.add(c.link, int64(len(b))+c.headers, time.Now()); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
