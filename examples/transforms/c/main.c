/* A state transform in C: the history of a sensor, from rows in degrees
   Celsius (schema 1) to columns in Kelvin (schema 2), and back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZERO_CELSIUS 273150 /* thousandths of a Kelvin */
#define LIMIT 1000000000
#define TOO_LATE 253402300800000 /* the year 10000, in milliseconds since 1970 */

static char *text;
static size_t at, size;

/* refuse ends the transform: this is not the state that it knows. */
static _Noreturn void refuse(const char *why) {
	fprintf(stderr, "byte %zu: %s\n", at, why);
	exit(2);
}

/* A buffer grows. */
struct buffer {
	char *data;
	size_t size, room;
};

static void put(struct buffer *b, const char *data, size_t n) {
	if (b->size + n > b->room) {
		b->room = (b->size + n) * 2;
		b->data = realloc(b->data, b->room);
		if (b->data == NULL) {
			fputs("out of memory\n", stderr);
			exit(1);
		}
	}
	memcpy(b->data + b->size, data, n);
	b->size += n;
}

static void put_text(struct buffer *b, const char *s) { put(b, s, strlen(s)); }

static void put_number(struct buffer *b, long long n) {
	char digits[24];
	put(b, digits, snprintf(digits, sizeof digits, "%lld", n));
}

/* put_milli writes thousandths as a decimal fraction. */
static void put_milli(struct buffer *b, long long n) {
	char digits[32];
	int len = snprintf(digits, sizeof digits, "%s%lld.%03lld", n < 0 ? "-" : "", llabs(n) / 1000, llabs(n) % 1000);
	while (digits[len - 1] == '0')
		len--;
	if (digits[len - 1] == '.')
		len--;
	put(b, digits, len);
}

/* next passes over white space and, if it follows, over a token. */
static int next(const char *token) {
	size_t n = strlen(token);
	while (at < size && strchr(" \n\t\r", text[at]) != NULL && text[at] != '\0')
		at++;
	if (size - at < n || memcmp(text + at, token, n) != 0)
		return 0;
	at += n;
	return 1;
}

static void expect(const char *token) {
	if (!next(token))
		refuse("another token was expected");
}

static long long digits(long long limit, int *count) {
	long long n = 0;
	int read = 0;
	for (; at < size && text[at] >= '0' && text[at] <= '9'; at++, read++)
		if ((n = n * 10 + (text[at] - '0')) >= limit)
			refuse("too large a number");
	if (read == 0)
		refuse("expected a number");
	if (count != NULL)
		*count = read;
	return n;
}

static long long natural(long long limit) {
	next("");
	return digits(limit, NULL);
}

static long long milli(void) {
	int sign = next("-") ? -1 : 1, count;
	long long n = digits(LIMIT, NULL) * 1000;
	if (at < size && text[at] == '.') {
		at++;
		long long fraction = digits(LIMIT, &count);
		if (count > 3)
			refuse("more than three decimals");
		for (; count < 3; count++)
			fraction *= 10;
		n += fraction;
	}
	if (at < size && (text[at] == 'e' || text[at] == 'E'))
		refuse("a number with an exponent");
	return sign * n;
}

/* Days since 1970 and back, by Howard Hinnant's algorithms. */
static long long days_from(long long y, int m, int d) {
	y -= m <= 2;
	long long era = y / 400, year = y - era * 400;
	long long day = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	return era * 146097 + year * 365 + year / 4 - year / 100 + day - 719468;
}

static void date_of(long long days, long long *y, int *m, int *d) {
	days += 719468;
	long long era = days / 146097, rest = days - era * 146097;
	long long year = (rest - rest / 1460 + rest / 36524 - rest / 146096) / 365;
	long long day = rest - (365 * year + year / 4 - year / 100);
	int month = (5 * (int)day + 2) / 153;
	*d = (int)day - (153 * month + 2) / 5 + 1;
	*m = month < 10 ? month + 3 : month - 9;
	*y = year + era * 400 + (*m <= 2);
}

static int part(int from, int n) {
	int value = 0;
	for (int i = from; i < from + n; i++) {
		char c = text[at + i];
		if (c < '0' || c > '9')
			refuse("no time since 1970");
		value = value * 10 + (c - '0');
	}
	return value;
}

/* millis reads a time as in 2026-11-29T08:00:00.000Z. */
static long long millis(void) {
	expect("\"");
	if (size - at < 25)
		refuse("no time since 1970");
	const char *form = "....-..-..T..:..:......Z\"";
	for (int i = 0; i < 24; i++)
		if (form[i] != '.' && form[i] != text[at + i])
			refuse("no time since 1970");
	if (text[at + 19] != '.')
		refuse("no time since 1970");
	int y = part(0, 4), m = part(5, 2), d = part(8, 2), h = part(11, 2), min = part(14, 2), s = part(17, 2), ms = part(20, 3);
	long long check_y;
	int check_m, check_d;
	if (y < 1970 || m < 1 || m > 12 || d < 1 || h > 23 || min > 59 || s > 59)
		refuse("no time since 1970");
	long long days = days_from(y, m, d);
	date_of(days, &check_y, &check_m, &check_d);
	if (check_m != m || check_d != d)
		refuse("no time since 1970");
	at += 24;
	expect("\"");
	return (((days * 24 + h) * 60 + min) * 60 + s) * 1000 + ms;
}

static void put_time(struct buffer *b, long long ms) {
	long long y, s = ms / 1000 % 86400;
	int m, d;
	char out[32];
	date_of(ms / 86400000, &y, &m, &d);
	put(b, out, snprintf(out, sizeof out, "%04lld-%02d-%02dT%02d:%02d:%02d.%03dZ", y, m, d,
			     (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60), (int)(ms % 1000)));
}

static struct buffer out;

static void to_columns(void) {
	struct buffer kelvin = {0}, times = {0};
	long long first = 0, count = 0;
	expect("[");
	do {
		expect("{"), expect("\"seq\""), expect(":");
		long long seq = natural(LIMIT);
		expect(","), expect("\"time\""), expect(":");
		long long time = millis();
		expect(","), expect("\"celsius\""), expect(":");
		long long celsius = milli();
		expect("}");
		if (count == 0) {
			first = seq;
		} else {
			put_text(&kelvin, ",");
			put_text(&times, ",");
		}
		if (seq != first + count++)
			refuse("a reading is missing");
		put_milli(&kelvin, celsius + ZERO_CELSIUS);
		put_number(&times, time);
	} while (next(","));
	expect("]");
	put_text(&out, "{\"unit\":\"K\",\"first\":");
	put_number(&out, first);
	put_text(&out, ",\"kelvin\":[");
	put(&out, kelvin.data, kelvin.size);
	put_text(&out, "],\"time\":[");
	put(&out, times.data, times.size);
	put_text(&out, "]}\n");
}

static void to_rows(void) {
	struct buffer kelvin = {0};
	expect("{"), expect("\"unit\""), expect(":"), expect("\"K\""), expect(",");
	expect("\"first\""), expect(":");
	long long first = natural(LIMIT);
	expect(","), expect("\"kelvin\""), expect(":"), expect("[");
	do {
		long long k = milli();
		put(&kelvin, (char *)&k, sizeof k);
	} while (next(","));
	expect("]"), expect(","), expect("\"time\""), expect(":"), expect("[");
	put_text(&out, "[");
	for (size_t i = 0; i < kelvin.size / sizeof(long long); i++) {
		if (i > 0) {
			expect(",");
			put_text(&out, ",");
		}
		put_text(&out, "{\"seq\":");
		put_number(&out, first + (long long)i);
		put_text(&out, ",\"time\":\"");
		put_time(&out, natural(TOO_LATE));
		put_text(&out, "\",\"celsius\":");
		put_milli(&out, ((long long *)(void *)kelvin.data)[i] - ZERO_CELSIUS);
		put_text(&out, "}");
	}
	expect("]"), expect("}");
	put_text(&out, "]\n");
}

int main(int argc, char **argv) {
	struct buffer in = {0};
	static char chunk[65536];
	for (size_t n; (n = fread(chunk, 1, sizeof chunk, stdin)) > 0;)
		put(&in, chunk, n);
	if (ferror(stdin) || argc < 3)
		return 1;
	text = in.data, size = in.size;
	if (strcmp(argv[1], "1") == 0 && strcmp(argv[2], "2") == 0)
		to_columns();
	else if (strcmp(argv[1], "2") == 0 && strcmp(argv[2], "1") == 0)
		to_rows();
	else
		refuse("no such way");
	next("");
	if (at < size)
		refuse("something follows");
	return fwrite(out.data, 1, out.size, stdout) == out.size && fflush(stdout) == 0 ? 0 : 1;
}
