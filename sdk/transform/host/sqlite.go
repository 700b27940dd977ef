package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// A database walks an SQLite file as its format says
// (https://sqlite.org/fileformat2.html), page by page: every page belongs to
// exactly one b-tree, overflow chain or the freelist, and lies where the file
// has one. It needs a bit per page and a page per level of a tree; it does not
// read what rows mean, apart from the schema's.
type database struct {
	file    io.ReaderAt
	size    int64 // of a page, bytes
	usable  int   // of them, without what is reserved
	pages   uint32
	seen    []uint64 // a bit per page
	visited uint32
	roots   []uint32
	vacuum  bool // there are pointer map pages
}

// Limits that no database meets in practice.
const (
	maxTreeDepth = 40
	maxRoots     = 100_000 // tables and indexes
)

// Offsets in the first page.
const (
	headerSize   = 100
	offsetSize   = 16
	offsetPages  = 28
	offsetFree   = 32
	offsetVacuum = 52
)

func validateSQLite(f source) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if size == 0 {
		return nil // an empty file is a database without tables
	}
	d := database{file: f}
	free, err := d.header(size)
	if err != nil {
		return err
	}
	if err := d.tree(1, 0, d.schema); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	for _, root := range d.roots {
		if err := d.tree(root, 0, nil); err != nil {
			return fmt.Errorf("tree %d: %w", root, err)
		}
	}
	if err := d.freelist(free[0], free[1]); err != nil {
		return fmt.Errorf("freelist: %w", err)
	}
	d.spared()
	if d.visited != d.pages {
		return fmt.Errorf("%d of %d pages belong to nothing", d.pages-d.visited, d.pages)
	}
	return nil
}

// header reads the first 100 bytes and returns first page and number of the
// freelist.
func (d *database) header(size int64) (free [2]uint32, err error) {
	var h [headerSize]byte
	if _, err := d.file.ReadAt(h[:], 0); err != nil {
		return free, errors.New("shorter than its header")
	}
	d.size = int64(binary.BigEndian.Uint16(h[offsetSize:]))
	if d.size == 1 {
		d.size = 65536
	}
	d.usable = int(d.size) - int(h[20])
	d.pages = uint32(size / max(d.size, 1))
	d.vacuum = binary.BigEndian.Uint32(h[offsetVacuum:]) != 0
	stated := binary.BigEndian.Uint32(h[offsetPages:])
	current := binary.BigEndian.Uint32(h[24:]) == binary.BigEndian.Uint32(h[92:])
	switch {
	case string(h[:16]) != sqliteMagic:
		return free, errors.New("no SQLite header")
	case d.size < 512 || d.size&(d.size-1) != 0 || d.usable < 480:
		return free, fmt.Errorf("pages of %d bytes", d.size)
	case size%d.size != 0 || size/d.size > 1<<32-2:
		return free, fmt.Errorf("%d bytes are no whole number of pages", size)
	case h[18] < 1 || h[18] > 2 || h[19] < 1 || h[19] > 2 || h[21] != 64 || h[22] != 32 || h[23] != 32:
		return free, errors.New("unknown version")
	case binary.BigEndian.Uint32(h[44:]) > 4 || binary.BigEndian.Uint32(h[56:]) > 3:
		return free, errors.New("unknown schema format or text encoding")
	case current && stated != d.pages:
		return free, fmt.Errorf("the header says %d pages, there are %d", stated, d.pages)
	}
	d.seen = make([]uint64, d.pages/64+1)
	return [2]uint32{binary.BigEndian.Uint32(h[offsetFree:]), binary.BigEndian.Uint32(h[offsetFree+4:])}, nil
}

// page reads a page that nothing else has claimed.
func (d *database) page(number uint32) ([]byte, error) {
	if number == 0 || number > d.pages {
		return nil, fmt.Errorf("page %d of %d", number, d.pages)
	}
	if d.seen[number/64]&(1<<(number%64)) != 0 {
		return nil, fmt.Errorf("page %d is used twice", number)
	}
	d.seen[number/64] |= 1 << (number % 64)
	d.visited++
	b := make([]byte, d.size)
	_, err := d.file.ReadAt(b, int64(number-1)*d.size)
	return b, err
}

// Kinds of b-tree pages.
const (
	interiorIndex = 2
	interiorTable = 5
	leafIndex     = 10
	leafTable     = 13
)

// tree walks the pages below one. record gets the payload of each row, as far
// as it lies in the leaf, and may be nil.
func (d *database) tree(number uint32, depth int, record func([]byte) error) error {
	if depth > maxTreeDepth {
		return errors.New("too deep")
	}
	b, err := d.page(number)
	if err != nil {
		return err
	}
	start := 0
	if number == 1 {
		start = headerSize
	}
	kind, cells, pointers := b[start], int(binary.BigEndian.Uint16(b[start+3:])), start+8
	interior := kind == interiorIndex || kind == interiorTable
	if !interior && kind != leafIndex && kind != leafTable {
		return fmt.Errorf("page %d is of kind %d", number, kind)
	}
	if interior {
		pointers += 4
	}
	if pointers+2*cells > d.usable {
		return fmt.Errorf("page %d has %d cells", number, cells)
	}
	for i := range cells {
		at := int(binary.BigEndian.Uint16(b[pointers+2*i:]))
		if at < pointers+2*cells || at >= d.usable {
			return fmt.Errorf("cell %d of page %d lies outside", i, number)
		}
		if err := d.cell(b[at:d.usable], kind, depth, record); err != nil {
			return err
		}
	}
	if interior {
		return d.tree(binary.BigEndian.Uint32(b[start+8:]), depth+1, record)
	}
	return nil
}

var errCell = errors.New("a cell is cut")

func (d *database) cell(c []byte, kind byte, depth int, record func([]byte) error) error {
	if kind == interiorIndex || kind == interiorTable {
		if len(c) < 4 {
			return errCell
		}
		if err := d.tree(binary.BigEndian.Uint32(c), depth+1, record); err != nil {
			return err
		}
		c = c[4:]
	}
	if kind == interiorTable {
		_, n := uvarint(c)
		return cutIf(n == 0)
	}
	length, n := uvarint(c)
	if n == 0 || length > math.MaxInt32 {
		return errCell
	}
	c = c[n:]
	if kind == leafTable {
		if _, n = uvarint(c); n == 0 {
			return errCell
		}
		c = c[n:]
	}
	local := d.local(int(length), kind)
	if local > len(c) || local < int(length) && local+4 > len(c) {
		return errCell
	}
	if local < int(length) {
		if err := d.overflow(binary.BigEndian.Uint32(c[local:]), int(length)-local); err != nil {
			return err
		}
	}
	if record != nil && kind == leafTable {
		return record(c[:local])
	}
	return nil
}

func cutIf(cut bool) error {
	if cut {
		return errCell
	}
	return nil
}

// local is how much of a payload lies in the cell, section 1.6 of the format.
func (d *database) local(length int, kind byte) int {
	most := (d.usable-12)*64/255 - 23
	if kind == leafTable {
		most = d.usable - 35
	}
	if length <= most {
		return length
	}
	least := (d.usable-12)*32/255 - 23
	if k := least + (length-least)%(d.usable-4); k <= most {
		return k
	}
	return least
}

func (d *database) overflow(number uint32, left int) error {
	for left > 0 {
		b, err := d.page(number)
		if err != nil {
			return fmt.Errorf("overflow: %w", err)
		}
		number = binary.BigEndian.Uint32(b)
		left -= d.usable - 4
	}
	if number != 0 {
		return errors.New("overflow: a chain is too long")
	}
	return nil
}

// schema notes the root of a table or index: the fourth of type, name,
// tbl_name, rootpage, sql.
func (d *database) schema(row []byte) error {
	header, n := uvarint(row)
	if n == 0 || header > uint64(len(row)) || int(header) < n {
		return errors.New("a row is cut")
	}
	types, values := row[n:header], row[header:]
	for range 3 {
		kind, n := uvarint(types)
		size := uint64(0)
		if kind >= 12 {
			size = (kind - 12) / 2
		}
		if n == 0 || size > uint64(len(values)) {
			return errors.New("the name of a table is too long or cut")
		}
		types, values = types[n:], values[size:]
	}
	kind, n := uvarint(types)
	width := map[uint64]int{1: 1, 2: 2, 3: 3, 4: 4}[kind]
	if n == 0 || width > len(values) {
		return errors.New("a row is cut")
	}
	root := uint32(0)
	for _, b := range values[:width] {
		root = root<<8 | uint32(b)
	}
	if kind == 9 {
		root = 1
	}
	if root != 0 { // views and triggers have none
		d.roots = append(d.roots, root)
	}
	if len(d.roots) > maxRoots {
		return errors.New("too many tables")
	}
	return nil
}

func (d *database) freelist(trunk, count uint32) error {
	found := uint32(0)
	for trunk != 0 {
		b, err := d.page(trunk)
		if err != nil {
			return err
		}
		leaves := binary.BigEndian.Uint32(b[4:])
		if leaves > uint32(d.usable/4-2) {
			return fmt.Errorf("page %d lists %d pages", trunk, leaves)
		}
		for i := range leaves {
			if _, err := d.page(binary.BigEndian.Uint32(b[8+4*i:])); err != nil {
				return err
			}
		}
		found += 1 + leaves
		trunk = binary.BigEndian.Uint32(b)
	}
	if found != count {
		return fmt.Errorf("%d pages, the header says %d", found, count)
	}
	return nil
}

// spared counts the pages that belong to nothing by design: that with the lock
// bytes, and those of the pointer map.
func (d *database) spared() {
	lock := uint32(1<<30/d.size) + 1
	if lock <= d.pages {
		d.visited++
	}
	if !d.vacuum {
		return
	}
	every := uint32(d.usable/5) + 1
	for p := uint32(2); p <= d.pages && p >= 2; p += every {
		if p == lock {
			p++
		}
		d.visited++
	}
}

// uvarint reads SQLite's number: up to 9 bytes, big end first. It returns the
// bytes read, 0 if they are cut.
func uvarint(b []byte) (v uint64, n int) {
	for n < len(b) && n < 9 {
		if n == 8 {
			return v<<8 | uint64(b[8]), 9
		}
		v = v<<7 | uint64(b[n]&0x7f)
		n++
		if b[n-1] < 0x80 {
			return v, n
		}
	}
	return 0, 0
}
