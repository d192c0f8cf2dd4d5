#pragma once

#include <cstdint>

namespace margay::vmm {

/// A date in the proleptic Gregorian calendar.
struct CalendarDate {
    std::int64_t year;
    unsigned month;  ///< 1..12
    unsigned day;    ///< 1..31
};

/// Days since 1970-01-01. Months start in March inside, so that the leap day is the year's last.
/// A month outside 1..12 or a day outside 1..31 counts on into the neighbouring months.
[[nodiscard]] constexpr std::int64_t days_from_date(const CalendarDate& date) noexcept {
    const auto months = date.year * 12 + static_cast<std::int64_t>(date.month) - 3;
    const auto year = months >= 0 ? months / 12 : (months - 11) / 12;
    const auto month = months - year * 12;  // 0 = March
    const auto era = (year >= 0 ? year : year - 399) / 400;
    const auto year_of_era = year - era * 400;
    const auto day_of_year = (153 * month + 2) / 5 + static_cast<std::int64_t>(date.day) - 1;
    return era * 146'097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719'468;
}

[[nodiscard]] constexpr CalendarDate date_from_days(std::int64_t days) noexcept {
    days += 719'468;  // from 0000-03-01
    const auto era = (days >= 0 ? days : days - 146'096) / 146'097;
    const auto day_of_era = days - era * 146'097;
    const auto year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
    const auto day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const auto month = (5 * day_of_year + 2) / 153;
    const auto year = year_of_era + era * 400 + (month >= 10 ? 1 : 0);
    return {year, static_cast<unsigned>(month < 10 ? month + 3 : month - 9),
            static_cast<unsigned>(day_of_year - (153 * month + 2) / 5 + 1)};
}

/// 1 = Sunday … 7 = Saturday, as the MC146818 counts.
[[nodiscard]] constexpr unsigned weekday_from_days(std::int64_t days) noexcept {
    const auto shifted = (days + 4) % 7;  // 1970-01-01 was a Thursday
    return static_cast<unsigned>(shifted < 0 ? shifted + 7 : shifted) + 1;
}

}  // namespace margay::vmm
