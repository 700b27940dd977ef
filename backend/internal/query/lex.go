package query

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind of token.
type kind int

const (
	end kind = iota
	word
	quoted // a word between [[ and ]]
	text   // a string
	digits
	symbol
)

type token struct {
	kind kind
	text string // of a string or quoted word what is between the marks, decoded
	at   int
}

// is tells whether a token is a symbol, or a keyword in upper case.
func (t token) is(what string) bool {
	return t.kind == symbol && t.text == what || t.kind == word && strings.EqualFold(t.text, what)
}

// symbols, longest first.
var symbols = []string{"[[", "!=", "<>", "<=", ">=", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]", ",", "."}

// lex takes a query apart; the last token is end.
func lex(query string) ([]token, error) {
	var tokens []token
	for at := 0; at < len(query); {
		r, size := utf8.DecodeRuneInString(query[at:])
		if unicode.IsSpace(r) {
			at += size
			continue
		}
		t, length, err := next(query, at, r)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
		at += length
	}
	return append(tokens, token{kind: end, at: len(query)}), nil
}

func next(query string, at int, r rune) (token, int, error) {
	rest := query[at:]
	switch {
	case r == '\'' || r == '"':
		return lexString(rest, at)
	case r >= '0' && r <= '9':
		n := strings.IndexFunc(rest, func(r rune) bool { return !strings.ContainsRune("0123456789.eE", r) })
		if n < 0 {
			n = len(rest)
		}
		return token{digits, rest[:n], at}, n, nil
	case unicode.IsLetter(r) || r == '_' || r == '$':
		n := strings.IndexFunc(rest, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '$' })
		if n < 0 {
			n = len(rest)
		}
		return token{word, rest[:n], at}, n, nil
	}
	for _, s := range symbols {
		if !strings.HasPrefix(rest, s) {
			continue
		}
		if s != "[[" {
			return token{symbol, s, at}, len(s), nil
		}
		if name, _, ok := strings.Cut(rest[2:], "]]"); ok && name != "" {
			return token{quoted, name, at}, len(name) + 4, nil
		}
		return token{}, 0, &Error{at, "[[ without ]]"}
	}
	return token{}, 0, &Error{at, "unexpected " + string(r)}
}

// lexString reads '…' or "…"; a mark within is doubled, or has a backslash before it.
func lexString(rest string, at int) (token, int, error) {
	var value strings.Builder
	mark := rest[0]
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '\\' && i+1 < len(rest) && strings.IndexByte(`\'"`, rest[i+1]) >= 0:
			i++
			value.WriteByte(rest[i])
		case c != mark:
			value.WriteByte(c)
		case i+1 < len(rest) && rest[i+1] == mark:
			i++
			value.WriteByte(c)
		default:
			return token{text, value.String(), at}, i + 1, nil
		}
	}
	return token{}, 0, &Error{at, "a string has no end"}
}
