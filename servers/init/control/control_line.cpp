#include "servers/init/control/control_line.hpp"

#include "proto/sealed_line.hpp"
#include "servers/init/control/reply.hpp"
#include "support/format.hpp"

namespace margay::init {

namespace {

// A piece: transfer, offset, bytes. The answer says how far it has come by now, every so many bytes.
constexpr unsigned piece_head = 12;
constexpr std::uint64_t told_every = 4096;

std::uint64_t wide_number_at(const char* p) {
    return frame::number_at(p, 4) | static_cast<std::uint64_t>(frame::number_at(p + 4, 4)) << 32;
}

}  // namespace

void ControlLine::type(char c) {
    switch (reader_.take(c)) {
    case frame::Reader::Found::text: return take_text(c);
    case frame::Reader::Found::frame: return take_frame();
    default: return;
    }
}

void ControlLine::take_frame() {
    if (reader_.type() != frame::type::chunk) return;
    const auto send = [this](char type, std::string_view payload) {
        frame::write([this](char c) { output_(c); }, type, reader_.stream(), payload);
    };
    const auto send_piece = [&send](std::uint32_t transfer, std::uint64_t at,
                                    std::string_view bytes) {
        char payload[frame::max_payload];
        for (unsigned i = 0; i < 4; ++i) payload[i] = static_cast<char>(transfer >> 8 * i);
        for (unsigned i = 0; i < 8; ++i) payload[4 + i] = static_cast<char>(at >> 8 * i);
        const std::size_t n = bytes.copy(payload + piece_head, sizeof(payload) - piece_head);
        send(frame::type::piece, {payload, piece_head + n});
    };
    std::string_view piece = reader_.payload();
    ErrorText why;
    if (piece.size() < piece_head) {
        print(why, "{}: a piece has {} bytes and more", to_text(FailureKind::usage), piece_head);
        return send(frame::type::refused, why.view());
    }
    const std::uint32_t transfer = frame::number_at(piece.data(), 4);
    const std::uint64_t offset = wide_number_at(piece.data() + 4);
    piece.remove_prefix(piece_head);
    const Outcome o = operations_.receive(transfer, offset, piece);
    if (!o.bytes.empty()) return send_piece(transfer, o.arrival.next, o.bytes);
    if (!o.good) {
        print(why, "{}: {}", to_text(o.kind), o.error);
        return send(frame::type::refused, why.view());
    }
    const std::uint64_t next = o.arrival.next;
    if (o.arrival.is_whole) return send(frame::type::closed, "");
    const bool as_expected = offset + piece.size() == next && !piece.empty();
    if (as_expected && next / told_every == offset / told_every) return;
    send_piece(transfer, next, {});
}

void ControlLine::take_text(char c) {
    if (c != '\n' && c != '\r') {
        is_too_long_ |= line_.is_full();
        line_(c);
        return;
    }
    if (is_too_long_)
        write_error(output_, Request{}, FailureKind::usage, "a request has at most 65536 bytes");
    else if (!line_.empty())
        answer();
    line_.clear();
    is_too_long_ = false;
}

void ControlLine::answer() {
    std::string_view text = line_.view();
    const Seal seal = take_seal(text);
    if (seal == Seal::broken) return;  // as a frame is dropped: it is sent again
    Pending& p = pending_[pending_count_];
    p = Pending{};
    ErrorText error;
    const bool good = parse_request(text, p.request, definition_, error);
    p.request.is_sealed = seal == Seal::good;
    if (!good) return write_error(output_, p.request, FailureKind::usage, error.view());
    answered_.forget(p.request.got.view());
    if (p.request.is_sealed && answer_again(p.request)) return;
    perform(operations_, p.request.command, p.performed);
    if (p.performed.pending)
        ++pending_count_;
    else
        reply(p.request, p.performed);
}

// True if it is a repetition that is not carried out: either the answer went astray, or it is still to come. What only shows
// something is: what was true when it was first answered need not be now.
bool ControlLine::answer_again(const Request& request) {
    for (unsigned i = 0; i < pending_count_; ++i)
        if (request.has_same_id(pending_[i].request)) return true;
    const Answer* a = answered_.find(request);
    if (a == nullptr && !request.is_again) return false;
    // Whatever the other end takes for the beginning of a frame ends here.
    for (unsigned i = 0; i < frame::max_frame; ++i) output_('\n');
    if (only_shows(request.command.action)) return false;
    if (a != nullptr)
        write(a->request, a->performed);
    else
        write_error(output_, request, FailureKind::failed,
                    "this request is not known: the node may have been restarted");
    return true;
}

void ControlLine::reply(const Request& request, const Performed& performed) {
    if (request.is_sealed) answered_.keep(request, performed);
    write(request, performed);
}

void ControlLine::write(const Request& request, const Performed& performed) {
    if (!performed.good)
        return write_error(output_, request, performed.kind, performed.error.view());
    write_result(output_, request, operations_, performed);
}

void ControlLine::look() {
    for (unsigned i = 0; i < pending_count_ && output_.empty();) {
        Pending& p = pending_[i];
        go_on(operations_, p.request.command, p.performed);
        if (p.performed.pending) {
            ++i;
            continue;
        }
        reply(p.request, p.performed);
        drop(i);
    }
}

void ControlLine::give_up(std::string_view why) {
    while (pending_count_ != 0 && output_.empty()) {
        write_error(output_, pending_[0].request, FailureKind::failed, why);
        drop(0);
    }
}

void ControlLine::drop(unsigned pending) {
    --pending_count_;
    for (unsigned k = pending; k < pending_count_; ++k) pending_[k] = pending_[k + 1];
}

}  // namespace margay::init
