package delta

import (
	"archive/tar"
	"crypto/sha256"
	"fmt"
	"io"
	"path"
	"strings"
)

// A part is a stretch of a content: an entry of a layer with all that belongs to it,
// or else everything.
type part struct {
	name     string
	from, to int64
	sum      [sha256.Size]byte
}

func (p part) size() int64 { return p.to - p.from }

// partsOf are the entries of a layer, and what is after the last one. Whatever the
// headers say, they lie one after the other, and are all of it.
func partsOf(c content) (parts []part, err error) {
	r := io.NewSectionReader(c, 0, c.size)
	for tr, at := tar.NewReader(r), int64(0); at < c.size; {
		p := part{from: at, to: c.size}
		h, err := tr.Next()
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("%w: not a layer: %w", ErrNone, err)
		}
		if err == nil {
			begin, _ := r.Seek(0, io.SeekCurrent) // it never fails
			p.name, p.to = h.Name, min(max(at, begin+(h.Size+511)&^511), c.size)
		}
		if p.sum, err = sumOf(c, p); err != nil {
			return nil, err
		}
		parts, at = append(parts, p), p.to
	}
	return parts, nil
}

// wholly is one part.
func wholly(c content) ([]part, error) {
	p := part{to: c.size}
	var err error
	p.sum, err = sumOf(c, p)
	return []part{p}, err
}

func sumOf(c content, p part) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	_, err = io.Copy(h, io.NewSectionReader(c, p.from, p.size()))
	return [sha256.Size]byte(h.Sum(nil)), err
}

// A shelf finds in the base what a part of the target may have been before.
type shelf struct {
	same map[[sha256.Size]byte]part
	like map[string]part // by name, and by what is left of it without directory and digits
}

func newShelf(base content) shelf {
	s := shelf{map[[sha256.Size]byte]part{}, map[string]part{}}
	for _, p := range base.parts {
		s.same[p.sum] = p
		s.like[p.name] = p
		if bare := bareName(p.name); s.like[bare].to == 0 {
			s.like[bare] = p
		}
	}
	return s
}

// before returns what is most like p; the zero part is like nothing.
func (s shelf) before(p part) (was part, same bool) {
	if was, same = s.same[p.sum]; same {
		return was, true
	}
	if was, like := s.like[p.name]; like {
		return was, false
	}
	return s.like[bareName(p.name)], false
}

// bareName begins with what no name of an entry begins with.
func bareName(name string) string {
	return "//" + strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, path.Base(name))
}
